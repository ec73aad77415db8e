"""The parameter table is consistent, and a value is checked the same way wherever it comes from."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.errors import BadParameter, shown_value
from modules.sampling.params import (
    BY_NAME,
    CANONICAL,
    DEFAULT_SAMPLER_ORDER,
    LLAMA,
    PARAMS,
    SAMPLER_NAMES,
    SWITCHES,
    check_values,
    dialect,
    ignored,
    read_values,
    starting_values,
    without_neutral,
)

# The keys text-generation-webui's presets can hold (its modules/sampling/presets.py has 38), but for penalty_alpha:
# no engine here has contrastive search, and a preset that holds it has it named as not used.
TEXTGEN_PRESET_KEYS = [
    "temperature", "dynatemp_low", "dynatemp_high", "dynatemp_exponent", "smoothing_factor", "smoothing_curve",
    "top_p", "top_k", "min_p", "top_n_sigma", "typical_p", "xtc_threshold", "xtc_probability", "epsilon_cutoff",
    "eta_cutoff", "tfs", "top_a", "adaptive_target", "adaptive_decay", "dry_multiplier", "dry_allowed_length",
    "dry_base", "repetition_penalty", "frequency_penalty", "presence_penalty", "encoder_repetition_penalty",
    "no_repeat_ngram_size", "repetition_penalty_range", "guidance_scale", "mirostat_mode",
    "mirostat_tau", "mirostat_eta", "do_sample", "dynamic_temperature", "temperature_last", "sampler_priority",
    "dry_sequence_breakers",
]  # fmt: skip


def test_every_key_of_a_textgen_preset_is_understood() -> None:
    assert len(TEXTGEN_PRESET_KEYS) == 37
    assert [key for key in TEXTGEN_PRESET_KEYS if key not in CANONICAL] == []


@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.name)
def test_a_row_is_whole_and_its_own_values_pass_its_own_check(param: Any) -> None:
    assert param.label
    assert param.help.endswith((".", ")"))
    assert param.check(param.default) == param.default
    if param.start is not None:
        assert param.check(param.start) == param.start
    if param.kind in ("int", "float"):
        assert None not in (param.low, param.high, param.step)
        assert param.low <= param.default <= param.high
        assert param.check(param.low) == param.low
        assert param.check(param.high) == param.high
    assert json.loads(json.dumps(param.default)) == param.default


def test_names_and_aliases_are_unique_and_groups_stand_together() -> None:
    every = [name for param in PARAMS for name in (param.name, *param.aliases)]
    assert len(every) == len(set(every))
    assert set(CANONICAL) == {*every, *SWITCHES}
    groups = [param.group for param in PARAMS]
    assert [group for n, group in enumerate(groups) if n == 0 or groups[n - 1] != group] == list(dict.fromkeys(groups))
    assert set(DEFAULT_SAMPLER_ORDER) <= set(SAMPLER_NAMES)


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("temperature", 1, 1.0), ("temp", 0.5, 0.5), ("top_k", 40.0, 40), ("max_new_tokens", 5, 5), ("seed", -1, -1),
        ("seed", 2**32 - 2, 2**32 - 2), ("mirostat_mode", 2, "2"), ("mirostat_mode", "1", "1"), ("mirostat", 0.0, "0"),
        ("dynamic_temperature", True, True), ("logit_bias", {"12": -100, 3: 1}, {"12": -100.0, "3": 1.0}),
        ("dry_sequence_breakers", '"\\n", ":", "\\"", "*"', ["\n", ":", '"', "*"]),
        ("dry_sequence_breakers", ["a", "b c"], ["a", "b c"]),
        ("sampler_priority", "top_k\ntemperature\n", ["top_k", "temperature"]),
        ("sampler_priority", "top_k, min_p", ["top_k", "min_p"]), ("samplers", ["top_k"], ["top_k"]),
        # a list in a string: text-generation-webui, SillyTavern
        ("dry_sequence_breakers", '["\\n", ":", "*"]', ["\n", ":", "*"]), ("dry_sequence_breakers", '["\n"]', ["\n"]),
        ("dry_sequence_breakers", "[]", []), ("samplers", '["tfs_z", "top_nsigma"]', ["tfs", "top_n_sigma"]),
        # what says "off": vLLM, SGLang, TabbyAPI, llama.cpp
        ("top_k", -1, 0), ("top_k", "-1", 0), ("top_k", None, 0), ("top_k", "", 0), ("max_tokens", -2, 0),
        ("repetition_penalty", 0, 1.0), ("rep_pen", None, 1.0), ("nsigma", -1, 0.0), ("seed", None, -1),
        ("mirostat_mode", None, "0"), ("mirostat_mode", "", "0"), ("logit_bias", [], {}), ("logit_bias", "", {}),
        # numbers and truth in other clothes
        ("temperature", "0.7", 0.7), ("top_k", "40", 40), ("xtc_probability", "1e-1", 0.1), ("genamt", "300", 300),
        ("dynatemp", 1, True), ("ban_eos_token", "false", False), ("ban_eos_token", "1", True), ("seed", "7", 7),
        ("logit_bias", '{"12": "-5"}', {"12": -5.0}), ("logit_bias", [[5, 1], [6, False]], {"5": 1.0, "6": -100.0}),
    ],
)  # fmt: skip
def test_a_value_is_taken_in_every_form_people_write_it(name: str, value: Any, stored: Any) -> None:
    (found,) = check_values({name: value}).values()
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"), ("temperature", -0.1), ("temperature", float("nan")), ("temperature", float("inf")),
        ("temperature", True), ("temperature", "nan"), ("temperature", "1_0"),
        ("temperature", 10**400), ("top_k", 1.5), ("top_k", 2**31),
        ("top_k", 10**400), ("top_p", 1.01), ("seed", 2**32), ("mirostat_mode", 3), ("mirostat_mode", True),
        ("mirostat_mode", "3"), ("dynamic_temperature", 2), ("dynamic_temperature", "maybe"),
        ("logit_bias", {"a": 1}), ("logit_bias", {"1": 101}),
        ("logit_bias", [1]), ("dry_sequence_breakers", '"open'), ("dry_sequence_breakers", [1]),
        ("dry_sequence_breakers", ["x" * 300]), ("dry_sequence_breakers", ["x"] * 300),
        ("dry_sequence_breakers", ["\ud800"]), ("logit_bias", {"²": 1}), ("logit_bias", {"9" * 5000: 1}),
        ("sampler_priority", ["no_such_sampler"]), ("do_sample", "nope"),
        ("dry_sequence_breakers", "['\\n']"), ("dry_sequence_breakers", "\\n, :"),
        ("logit_bias", "[1"), ("logit_bias", [["a", 1]]), ("no_such_parameter", 1),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_the_parameters_name(name: str, value: Any) -> None:
    with pytest.raises(BadParameter) as caught:
        check_values({name: value})
    assert caught.value.param in (name, CANONICAL.get(name))
    assert len(caught.value.message) < 600


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(name=st.sampled_from(sorted(CANONICAL)), value=JSON)
def test_any_json_value_is_taken_or_refused_and_what_is_taken_is_stable(name: str, value: Any) -> None:
    try:
        once = check_values({name: value})
    except BadParameter:
        return
    assert check_values(once) == once
    assert all(key in BY_NAME for key in once)


def test_do_sample_false_means_the_likeliest_token_whatever_else_is_said() -> None:
    said = {"do_sample": False, "temperature": 1.3, "dynamic_temperature": True}
    assert check_values(said) == {"temperature": 0.0, "dynamic_temperature": False}
    assert check_values({"do_sample": True, "temperature": 1.3}) == {"temperature": 1.3}


def test_temperature_last_moves_the_temperature_to_the_end_of_the_order() -> None:
    given_order = ["temperature", "dynamic_temperature", "top_k", "min_p"]
    found = check_values({"temperature_last": True, "sampler_priority": given_order})
    assert found["sampler_priority"] == ["top_k", "min_p", "temperature", "dynamic_temperature"]
    assert check_values({"temperature_last": True})["sampler_priority"] == list(DEFAULT_SAMPLER_ORDER)
    assert check_values({"temperature_last": False}) == {}


def test_parameters_no_engine_has_are_kept_and_reported() -> None:
    values = check_values({"tfs": 0.9, "top_a": 0.0, "temperature": 0.5})
    assert ignored(values, dialect(LLAMA)) == ("tfs",)


def test_neutral_values_are_left_out_and_a_new_start_has_every_parameter() -> None:
    assert without_neutral({"top_k": 0, "top_p": 0.9, "sampler_priority": list(DEFAULT_SAMPLER_ORDER)}) == {
        "top_p": 0.9
    }
    assert set(starting_values()) == set(BY_NAME)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", 2**40, "from -1 to 4294967294."),
        ("top_p", 3, "from 0 to 1."),
        ("dynatemp_exponent", -1, "of at least 0.01."),
    ],
)
def test_a_refused_number_names_its_limits_as_people_write_them(name: str, value: float, words: str) -> None:
    with pytest.raises(BadParameter, match=re.escape(words)):
        BY_NAME[name].check(value)


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e308, float("nan"), True])
def test_a_number_beyond_every_choice_is_refused_like_any_other(value: float) -> None:
    with pytest.raises(BadParameter):
        check_values({"mirostat_mode": value})
    assert check_values({"mirostat_mode": 2}) == check_values({"mirostat_mode": 2.0}) == {"mirostat_mode": "2"}


def test_the_name_counts_over_the_alias_and_two_values_are_told_of() -> None:
    for asked in ({"samplers": ["top_k"], "sampler_priority": ["min_p"]},
                  {"sampler_priority": ["min_p"], "samplers": ["top_k"]}):  # fmt: skip
        values, notices = read_values(asked)
        assert values == {"sampler_priority": ["min_p"]}
        assert [notice.param for notice in notices] == ["samplers"]
    assert read_values({"temp": 1, "temperature": 1.0}) == ({"temperature": 1.0}, ())
    assert read_values({"temp": None, "do_sample": None})[0] == {"temperature": 1.0}


def test_a_zero_that_means_off_is_told_of_and_a_minus_one_is_not() -> None:
    assert [notice.code for notice in read_values({"repetition_penalty": 0})[1]] == ["read_as_off"]
    assert read_values({"top_k": -1, "temperature": 0})[1] == ()


@pytest.mark.parametrize(
    "value", [[[]] * 500_000, {str(n): [] for n in range(500_000)}, "x" * 5_000_000, [["1", 1]] * 500_000]
)
@pytest.mark.parametrize("name", ["temperature", "logit_bias", "dry_sequence_breakers", "mirostat_mode"])
def test_a_huge_value_is_refused_in_a_short_message(name: str, value: Any) -> None:
    with pytest.raises(BadParameter) as caught:
        check_values({name: value})
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("value", "shown"),
    [([1, "a"], "[1, 'a']"), ({"a": 1}, "{'a': 1}"), ([[]], "a list of 1 item"), ({}, "{}"),
     (10**5000, "a number of more"),
     ("x" * 61, "'" + "x" * 57 + "'…"), ([1] * 1_000_000, "a list of 1,000,000 items"), (None, "None")],
    ids=lambda value: repr(type(value)),
)  # fmt: skip
def test_a_value_is_shown_in_a_few_words(value: Any, shown: str) -> None:
    assert shown_value(value).startswith(shown)

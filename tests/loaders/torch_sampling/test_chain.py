"""The sampler of one request as a whole: seeds, logprobs, bias, what it leaves alone, and that it always chooses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.sampling.params import BY_NAME, TORCH, dialect
from modules.types import ParamValue
from tests.loaders.torch_sampling.making import HALVES, kept, logits, sampler, torch, vocabulary

from loaders.torch_sampling.chain import Sampler, pick_rows  # isort: skip

WIDE = logits(*HALVES)
ALL_ON: dict[str, Any] = {
    "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.98, "tfs": 0.99, "top_a": 0.01,
    "epsilon_cutoff": 0.1, "eta_cutoff": 0.1, "top_n_sigma": 3.0, "xtc_probability": 0.5, "repetition_penalty": 1.1,
    "frequency_penalty": 0.1, "presence_penalty": 0.1, "encoder_repetition_penalty": 1.1, "no_repeat_ngram_size": 3,
    "dry_multiplier": 0.8, "smoothing_factor": 0.2, "adaptive_target": 0.3, "logit_bias": {"1": -3.0, "2": -100},
}  # fmt: skip


def test_every_parameter_this_chain_is_said_to_honour_changes_something() -> None:
    """All but those that other parts see to."""
    elsewhere = {"max_tokens", "seed", "guidance_scale"}
    helped_by: dict[str, dict[str, ParamValue]] = {
        "dynatemp_low": {"dynamic_temperature": True}, "dynatemp_high": {"dynamic_temperature": True},
        "dynatemp_exponent": {"dynamic_temperature": True, "dynatemp_low": 0.3},
        "smoothing_curve": {"smoothing_factor": 0.5}, "xtc_threshold": {"xtc_probability": 1.0},
        "repetition_penalty_range": {"presence_penalty": 0.5}, "dry_base": {"dry_multiplier": 1.0},
        "dry_allowed_length": {"dry_multiplier": 1.0}, "dry_sequence_breakers": {"dry_multiplier": 1.0},
        "mirostat_tau": {"mirostat_mode": "2"}, "adaptive_decay": {"adaptive_target": 0.3},
        "mirostat_eta": {"mirostat_mode": "2", "mirostat_tau": 2.0},
        "sampler_priority": {"temperature": 3.0, "min_p": 0.3}, "dynamic_temperature": {"dynatemp_high": 2.0},
        "mirostat_mode": {"mirostat_tau": 1.0},
    }  # fmt: skip
    values: dict[str, Any] = {
        "logit_bias": {"3": 5.0}, "mirostat_mode": "2", "sampler_priority": ["temperature", "min_p"],
        "dry_sequence_breakers": [" w2"], "ban_eos_token": True, "dynamic_temperature": True, "no_repeat_ngram_size": 2,
        "repetition_penalty_range": 1, "top_k": 2, "dry_allowed_length": 4, "xtc_threshold": 0.3, "epsilon_cutoff": 900,
        "eta_cutoff": 3000, "top_p": 0.5, "typical_p": 0.5, "tfs": 0.5, "min_p": 0.5, "top_a": 1.0, "top_n_sigma": 0.5,
        "mirostat_tau": 0.5, "smoothing_curve": 2.5, "dry_base": 3.0,
    }  # fmt: skip

    def after(params: dict[str, Any]) -> tuple[list[int], list[float]]:
        known = vocabulary(5, eos=[4])
        one = Sampler(params, known, [1, 2, 0, 3, 1, 2, 0, 3, 1, 2, 0], seed=1)
        one.take(3, WIDE)
        one.take(1, WIDE)
        return one.candidates(WIDE)

    for name in dialect(TORCH):
        if name not in elsewhere:
            helped = helped_by.get(name, {})
            value = values.get(name, 0.7)
            assert BY_NAME[name].check(value) == value
            assert after({**helped, name: value}) != after(dict(helped)), name


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=40), st.integers(0, 2**32 - 2))
@settings(deadline=None)
def test_a_neutral_chain_leaves_the_models_own_distribution(row: list[float], seed: int) -> None:
    got = kept({}, torch.tensor(row), seed=seed)
    wanted = torch.softmax(torch.tensor(row), 0)
    assert got == pytest.approx({token: float(share) for token, share in enumerate(wanted) if share > 0}, rel=1e-5)


NAMES = sorted(set(ALL_ON) - {"logit_bias"})
SOME = st.lists(st.sampled_from(NAMES), max_size=8, unique=True)


@given(
    SOME, st.lists(st.floats(-40, 40) | st.just(-math.inf), min_size=1, max_size=30),
    st.lists(st.integers(0, 29), max_size=30), st.integers(0, 9), st.data(),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_any_samplers_in_any_strength_leave_something_to_choose(
    names: list[str], row: list[float], prompt: list[int], seed: int, data: st.DataObject
) -> None:
    if all(one == -math.inf for one in row):
        row[0] = 0.0
    params: dict[str, Any] = {}
    for name in names:
        param = BY_NAME[name]
        kind = st.integers if param.kind == "int" else st.floats
        params[name] = data.draw(kind(param.low, param.high), label=name)
    params["mirostat_mode"] = data.draw(st.sampled_from(["0", "0", "1", "2"]))
    params["sampler_priority"] = data.draw(st.permutations(["top_k", "xtc", "temperature", "typical_p", "tfs"]))
    one = sampler(params, len(row), prompt=[token % len(row) for token in prompt], seed=seed)
    other = sampler(params, len(row), prompt=[token % len(row) for token in prompt], seed=seed)
    for _ in range(4):
        tokens, shares = one.candidates(torch.tensor(row))
        assert tokens
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        picked = one.pick(torch.tensor(row)).token
        assert picked in tokens
        assert row[picked] > -math.inf
        assert other.pick(torch.tensor(row)).token == picked  # asking for candidates changed nothing


def test_a_seed_repeats_and_another_does_not() -> None:
    rows = torch.randn(40, 200, generator=torch.Generator().manual_seed(1))

    def reply(seed: int | None) -> tuple[int, list[int]]:
        one = sampler({"xtc_probability": 0.5}, 200, seed=seed)
        return one.seed, [one.pick(row).token for row in rows]

    assert reply(7) == reply(7)
    assert reply(7)[1] != reply(8)[1]
    drawn, first = reply(None)
    assert drawn >= 0
    assert reply(drawn) == (drawn, first)
    assert reply(-1)[0] != reply(-1)[0]
    assert reply(2**32 - 2)[0] == 2**32 - 2


def test_asking_for_the_candidates_does_not_change_the_reply() -> None:
    rows = torch.randn(40, 50, generator=torch.Generator().manual_seed(1))
    asked, other = (sampler({"xtc_probability": 0.5, "xtc_threshold": 0.05}, 50) for _ in range(2))
    for row in rows:
        asked.candidates(row)
        assert asked.pick(row).token == other.pick(row).token


def test_all_samplers_together_leave_the_models_logits_as_they_are() -> None:
    row = torch.randn(500, generator=torch.Generator().manual_seed(2)) * 3
    before = row.clone()
    one = sampler(ALL_ON, 500, prompt=list(range(50)) * 2)
    for _ in range(5):
        one.pick(row)
    assert torch.equal(row, before)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_any_float_type_will_do(dtype: str) -> None:
    got = kept({"top_k": 2}, WIDE.to(getattr(torch, dtype)))
    assert got == pytest.approx({0: 2 / 3, 1: 1 / 3}, rel=0.02)


def test_logprobs_are_the_models_own_with_every_tokens_bytes() -> None:
    known = vocabulary(pieces=[b"a", "é".encode()[:1], "é".encode()[1:], b"d", b"e"])
    one = sampler({"temperature": 0.0, "presence_penalty": 2.0, "logit_bias": {"2": 9}}, prompt=[0], vocabulary=known,
                  logprobs=3)  # fmt: skip
    found = one.pick(WIDE + 3).logprob
    assert found is not None
    assert (found.chosen.token_id, found.chosen.bytes, found.chosen.token) == (2, (0xA9,), "�")
    assert found.chosen.logprob == pytest.approx(math.log(0.125), rel=1e-5)
    assert [one.token_id for one in found.top] == [0, 1, 2]
    assert [one.logprob for one in found.top] == pytest.approx([math.log(p) for p in HALVES[:3]], rel=1e-5)
    assert found.top[1].bytes == (0xC3,)


def test_no_alternatives_are_listed_where_none_are_asked_for() -> None:
    found = sampler({}, logprobs=0).pick(WIDE).logprob
    assert found is not None
    assert found.top == ()
    assert sampler({}).pick(WIDE).logprob is None


def test_a_token_the_model_rules_out_has_a_logprob_json_can_hold() -> None:
    found = sampler({"temperature": 0.0}, 2, logprobs=2).pick(logits(1.0, 0.0)).logprob
    assert found is not None
    assert found.top[1].logprob == -9999.0


def test_a_bias_is_added_and_minus_100_forbids() -> None:
    got = kept({"logit_bias": {"1": math.log(2), "0": -100}}, logits(0.5, 0.25, 0.25))
    assert got == pytest.approx({1: 2 / 3, 2: 1 / 3})


def test_a_bias_of_an_unknown_token_is_said() -> None:
    one = sampler({"logit_bias": {"99": 5, "1": 1}})
    assert [(notice.param, "99" in notice.message) for notice in one.notices] == [("logit_bias", True)]
    assert one.pick(WIDE).token < 5


def test_a_bias_that_forbids_everything_forbids_nothing_and_says_so() -> None:
    one = sampler({"logit_bias": {str(token): -100 for token in range(5)}})
    assert one.pick(WIDE).token < 5
    one.pick(WIDE)
    assert [notice.param for notice in one.notices] == ["logit_bias"]


def test_an_end_token_ends_the_reply_and_can_be_ignored() -> None:
    known = vocabulary(5, eos=[0, 3])
    ended = sampler({"temperature": 0.0}, vocabulary=known).pick(WIDE)
    assert (ended.token, ended.ended, ended.end_token) == (0, True, True)
    on = sampler({"temperature": 0.0, "ban_eos_token": True}, vocabulary=known).pick(WIDE)
    assert (on.token, on.ended, on.end_token) == (1, False, False)
    assert sorted(kept({"ban_eos_token": True}, WIDE, vocabulary=known)) == [1, 2, 4]


def test_what_a_model_has_beyond_its_vocabulary_is_never_chosen() -> None:
    row = torch.cat([WIDE, torch.tensor([50.0, 60.0])])
    for temperature in (0.0, 1.0):
        assert sampler({"temperature": temperature}).pick(row).token < 5


def test_a_batch_gives_each_row_what_it_gets_alone() -> None:
    rows = torch.randn(4, 300, generator=torch.Generator().manual_seed(5)) * 3
    kinds: list[dict[str, Any]] = [{"temperature": 0.0}, {}, ALL_ON, {"temperature": 0.0, "top_k": 40}]
    together = pick_rows([sampler(kind, 300, seed=3) for kind in kinds], rows)
    assert together == [sampler(kind, 300, seed=3).pick(row) for kind, row in zip(kinds, rows, strict=True)]
    assert together[0].token == together[3].token == int(rows[0].argmax()) or int(rows[3].argmax()) == together[3].token


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("params", [{"temperature": 0.0}, {}, {"top_k": 40, "top_p": 0.9}, ALL_ON,
                                    {"mirostat_mode": "1"}, {"mirostat_mode": "2"}, {"tfs": 0.97},
                                    {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05}])  # fmt: skip
def test_a_graphics_card_gives_the_same_tokens_as_the_processor(params: dict[str, Any]) -> None:
    rows = torch.randn(30, 50_000, generator=torch.Generator().manual_seed(5)) * 3
    prompt = list(range(40)) * 2
    there = sampler(params, 50_000, prompt, device="cuda", logprobs=2)
    here = sampler(params, 50_000, prompt, logprobs=2)
    same = sum(there.pick(row.cuda()).token == here.pick(row).token for row in rows)
    assert same >= 28  # a draw at the border of two tokens may round the other way


class ElsewhereRow:
    """A row of logits on a device that lacks what the sampler needs: all there is to do with it is to fetch it."""

    device = torch.device("mps")

    def detach(self) -> ElsewhereRow:
        return self

    def __getitem__(self, index: slice) -> ElsewhereRow:
        return self

    def cpu(self) -> Any:
        return WIDE


@pytest.mark.parametrize("params", [{"temperature": 0.0}, ALL_ON])
def test_logits_of_a_device_without_what_the_sampler_needs_are_fetched(params: dict[str, Any]) -> None:
    elsewhere: Any = ElsewhereRow()
    assert sampler(params, seed=3).pick(elsewhere).token == sampler(params, seed=3).pick(WIDE).token

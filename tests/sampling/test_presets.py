"""Presets: what people bring is read as it is, what is theirs is kept, what came with the program stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from modules.errors import BadParameter, BadRequest, NotFound, StorageError
from modules.sampling.params import BY_NAME, starting_values, without_neutral
from modules.sampling.presets import PresetInfo, Presets

SHIPPED = Path(__file__).parents[2] / "presets"

TEXTGEN = r"""
do_sample: false
temperature: 1.31
top_p: 0.14
top_k: 49
tfs: 0.95
mirostat_mode: 2
temperature_last: true
sampler_priority: |-
  temperature
  quadratic_sampling
  top_k
  no_repeat_ngram
dry_sequence_breakers: '"\n", ":", "\"", "*"'
xtc_probability: 1e-1
custom_key: [1, 2]
"""


@pytest.fixture
def presets(tmp_path: Path) -> Presets:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "Given.yaml").write_text("top_k: 40\n")
    (tmp_path / "own").mkdir()
    return Presets(tmp_path / "shipped", tmp_path / "own")


def test_a_preset_holds_only_what_differs_from_neutral(presets: Presets, tmp_path: Path) -> None:
    presets.save("Mine", {**starting_values(), "seed": 7, "max_tokens": 50})
    written = yaml.safe_load((tmp_path / "own" / "Mine.yaml").read_text())
    assert written == {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
    assert presets.load("Mine") == written


def test_a_textgen_preset_is_read_as_it_is(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "own" / "Old.yaml").write_text(TEXTGEN)
    found = presets.read("Old")
    assert found.values["temperature"] == 0.0
    assert found.values["mirostat_mode"] == "2"
    assert found.values["sampler_priority"] == ["top_k", "no_repeat_ngram", "temperature", "quadratic_sampling"]
    assert found.values["tfs"] == 0.95
    assert found.values["xtc_probability"] == 0.1
    assert "dry_sequence_breakers" in found.values
    assert found.unknown == {"custom_key": [1, 2]}
    assert len(found.problems) == 1
    assert "custom_key" in found.problems[0]
    assert (tmp_path / "own" / "Old.yaml").read_text() == TEXTGEN


def test_saving_writes_lists_as_textgen_does_and_keeps_keys_we_do_not_know(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "own" / "Old.yaml").write_text(TEXTGEN)
    changed = {**presets.load("Old"), "temperature": 0.5, "dry_sequence_breakers": ["\n", '"']}
    presets.save("Old", changed)
    written = yaml.safe_load((tmp_path / "own" / "Old.yaml").read_text())
    assert written["sampler_priority"] == "top_k\nno_repeat_ngram\ntemperature\nquadratic_sampling"
    assert written["dry_sequence_breakers"] == r'"\n", "\""'
    assert written["mirostat_mode"] == 2
    assert written["custom_key"] == [1, 2]
    assert presets.load("Old") == {**without_neutral(changed)}


def test_a_wrong_value_is_left_out_and_named_and_the_rest_is_used(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "own" / "x.yaml").write_text("temperature: hot\ntop_p: 0.9\ntop_k: -5\n")
    found = presets.read("x")
    assert found.values == {"top_p": 0.9}
    assert len(found.problems) == 2
    assert "temperature" in found.problems[0]


def test_own_presets_hide_shipped_ones_of_the_same_name(presets: Presets, tmp_path: Path) -> None:
    assert presets.names() == [PresetInfo("Given", True)]
    (tmp_path / "own" / "given.yaml").write_text("top_k: 3\n")
    (tmp_path / "own" / "Another.yml").write_text("top_k: 4\n")
    (tmp_path / "own" / "notes.txt").write_text("")
    (tmp_path / "own" / ".hidden.yaml").write_text("")
    assert presets.names() == [PresetInfo("Another", False), PresetInfo("given", False)]
    assert presets.load("Another") == {"top_k": 4}


def test_what_came_with_the_program_is_neither_changed_nor_deleted(presets: Presets) -> None:
    for name in ("Given", "given"):
        with pytest.raises(BadRequest, match="came with the program"):
            presets.save(name, {"top_k": 1})
    with pytest.raises(BadRequest, match="came with the program"):
        presets.delete("Given")
    assert presets.load("Given") == {"top_k": 40}


def test_a_deleted_preset_is_gone_with_its_copy(presets: Presets, tmp_path: Path) -> None:
    presets.save("Mine", {"top_k": 5})
    presets.delete("Mine")
    assert not presets.has("Mine")
    assert not list((tmp_path / "own").rglob("Mine*"))
    with pytest.raises(NotFound):
        presets.delete("Mine")


def test_an_unknown_name_is_answered_with_those_there_are(presets: Presets) -> None:
    with pytest.raises(NotFound) as caught:
        presets.load("Givn")
    assert caught.value.code == "preset_not_found"
    assert "Given" in caught.value.hint


@pytest.mark.parametrize("name", ["../x", "a/b", "", "C:x", "a\x00", ".x", "x" * 300])
def test_a_name_that_could_be_a_path_is_refused_everywhere(presets: Presets, name: str) -> None:
    for call in (presets.load, presets.delete, lambda name: presets.save(name, {})):
        with pytest.raises(BadRequest):
            call(name)
    assert not presets.has(name)


def test_a_bad_value_is_not_saved(presets: Presets) -> None:
    with pytest.raises(BadParameter):
        presets.save("Mine", {"top_p": 7})
    assert not presets.has("Mine")


def test_an_unreadable_preset_is_put_aside_and_its_last_good_copy_used(presets: Presets, tmp_path: Path) -> None:
    presets.save("Mine", {"top_k": 5})
    (tmp_path / "own" / "Mine.yaml").write_text("top_k: [")
    found = presets.read("Mine")
    assert found.values == {"top_k": 5}
    assert "last good copy" in found.problems[0]
    assert list((tmp_path / "own").glob("Mine.yaml.corrupt-*"))


def test_a_preset_that_never_was_readable_is_an_error_and_kept(presets: Presets, tmp_path: Path) -> None:
    for text in ("top_k: [", "just words", "- a\n- list\n"):
        (tmp_path / "own" / "Bad.yaml").write_text(text)
        with pytest.raises(StorageError):
            presets.load("Bad")
        assert any(path.read_text() == text for path in (tmp_path / "own").glob("Bad.yaml*"))


def test_an_empty_preset_is_the_neutral_one(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "own" / "Empty.yaml").write_text("# nothing\n")
    assert presets.load("Empty") == {}


def test_the_shipped_presets_are_sound_and_explained() -> None:
    presets = Presets(SHIPPED, SHIPPED / "none")
    names = [info.name for info in presets.names()]
    assert {"Neutral", "Balanced", "Precise", "Creative"} <= set(names)
    for name in names:
        found = presets.read(name)
        assert found.problems == ()
        assert found.unknown == {}
        assert without_neutral(found.values) == found.values
        assert (SHIPPED / f"{name}.yaml").read_text().startswith("# ")
    assert presets.load("Neutral") == {}
    assert presets.load("Balanced") == without_neutral(starting_values())
    assert all(key in BY_NAME for name in names for key in presets.load(name))


SILLYTAVERN = r"""{"temp": 1.25, "temperature_last": false, "top_k": 0, "tfs": 1, "rep_pen": 1.1, "rep_pen_range": 0,
"encoder_rep_pen": 1, "freq_pen": 0.2, "presence_pen": 0, "do_sample": true, "dynatemp": true, "min_temp": 0.5,
"max_temp": 2, "dry_multiplier": 0.8, "dry_sequence_breakers": "[\"\\n\", \":\", \"\\\"\"]", "mirostat_mode": 0,
"sampler_priority": ["temperature", "quadratic_sampling", "top_n_sigma"], "samplers": ["penalties", "tfs_z"],
"logit_bias": [], "nsigma": 0, "ignore_eos_token": false, "json_schema": null, "skew": 0}"""


def test_a_sillytavern_preset_is_read_as_meant_and_stays_as_it_is(presets: Presets, tmp_path: Path) -> None:
    file = tmp_path / "own" / "Light.json"
    file.write_text(SILLYTAVERN)
    assert PresetInfo("Light", shipped=False) in presets.names()
    values = presets.read("Light").values
    assert without_neutral(values) == {
        "temperature": 1.25, "repetition_penalty": 1.1, "repetition_penalty_range": 0, "frequency_penalty": 0.2,
        "dynamic_temperature": True, "dynatemp_low": 0.5, "dynatemp_high": 2.0, "dry_multiplier": 0.8,
        "dry_sequence_breakers": ["\n", ":", '"'],
        "sampler_priority": ["temperature", "quadratic_sampling", "top_n_sigma"],
    }  # fmt: skip
    assert set(presets.read("Light").unknown) == {"json_schema", "skew"}
    with pytest.raises(BadRequest):
        presets.save("Light", {"temperature": 1})
    assert file.read_text() == SILLYTAVERN


def test_breakers_in_a_json_array_are_read_as_breakers(presets: Presets, tmp_path: Path) -> None:
    (tmp_path / "own" / "Dry.yaml").write_text(
        'dry_multiplier: 0.8\ndry_sequence_breakers: \'["\\n", ":"]\'\ntop_k: -1\n'
    )
    found = presets.read("Dry")
    assert found.values == {"dry_multiplier": 0.8, "dry_sequence_breakers": ["\n", ":"], "top_k": 0}
    assert found.problems == ()

"""The values in use: complete, all or none, kept over a restart, and never lost to a bad file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from modules.errors import BadParameter, NotFound, StorageError
from modules.sampling.params import BY_NAME, starting_values
from modules.sampling.presets import Presets
from modules.sampling.values import START_PRESET, ParamValues
from modules.settings.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "Given.yaml").write_text("top_k: 20\nmin_p: 0.1\n")
    return Paths.below(tmp_path / "data")


def fresh(paths: Paths) -> ParamValues:
    return ParamValues(paths, Presets(paths.root.parent / "shipped", paths.presets))


def test_a_new_start_has_every_parameter_at_its_starting_value(paths: Paths) -> None:
    values = fresh(paths)
    assert values.values == starting_values()
    assert (values.preset, values.modified, values.problems) == (None, False, [])
    assert not paths.params_file.exists()


def test_a_change_survives_a_restart_and_tells_only_what_changed(paths: Paths) -> None:
    values = fresh(paths)
    assert values.set({"temp": 0.9, "top_k": 40}) == {"temperature": 0.9}
    assert fresh(paths).values == {**starting_values(), "temperature": 0.9}


def test_a_value_put_back_to_neutral_stays_neutral_after_a_restart(paths: Paths) -> None:
    fresh(paths).set({"temperature": 1.0, "top_k": 0})
    again = fresh(paths).values
    assert (again["temperature"], again["top_k"], again["top_p"]) == (1.0, 0, 0.95)


def test_changes_are_all_or_none(paths: Paths) -> None:
    values = fresh(paths)
    before = values.values
    with pytest.raises(BadParameter):
        values.set({"temperature": 0.1, "top_p": 9})
    assert values.values == before


def test_a_snapshot_does_not_change_under_its_reader(paths: Paths) -> None:
    values = fresh(paths)
    before = values.values
    values.set({"temperature": 0.1})
    assert before["temperature"] == 0.7
    with pytest.raises(TypeError):
        before["temperature"] = 3  # type: ignore[index]


def test_loading_a_preset_makes_the_rest_neutral_but_leaves_the_persons_own_things(paths: Paths) -> None:
    values = fresh(paths)
    values.set({"seed": 7, "max_tokens": 99, "logit_bias": {"1": -100}})
    changed = values.load_preset("Given")
    assert changed == {"temperature": 1.0, "top_k": 20, "top_p": 1.0, "min_p": 0.1}
    assert (values.values["seed"], values.values["max_tokens"], values.values["logit_bias"]) == (7, 99, {"1": -100.0})
    assert (values.preset, values.modified) == ("Given", False)
    values.set({"seed": 8})
    assert not values.modified
    values.set({"top_k": 21})
    assert values.modified
    values.set({"top_k": 20})
    assert not values.modified


def test_the_preset_and_whether_it_was_changed_survive_a_restart(paths: Paths) -> None:
    values = fresh(paths)
    values.load_preset("Given")
    assert (fresh(paths).preset, fresh(paths).modified) == ("Given", False)
    values.set({"top_k": 3})
    assert (fresh(paths).preset, fresh(paths).modified) == ("Given", True)


def test_a_preset_that_is_gone_is_no_longer_named(paths: Paths) -> None:
    presets = Presets(paths.root.parent / "shipped", paths.presets)
    values = ParamValues(paths, presets)
    presets.save("Mine", {"top_k": 5})
    values.load_preset("Mine")
    presets.delete("Mine")
    assert (values.preset, values.modified, values.values["top_k"]) == (None, False, 5)
    assert fresh(paths).preset is None


def test_an_unknown_preset_changes_nothing(paths: Paths) -> None:
    values = fresh(paths)
    with pytest.raises(NotFound):
        values.load_preset("None such")
    assert values.values == starting_values()


def test_reset_goes_back_to_a_new_start(paths: Paths) -> None:
    values = fresh(paths)
    values.load_preset("Given")
    values.set({"seed": 5})
    values.reset()
    assert (values.values, values.preset) == (starting_values(), None)


def test_listeners_hear_what_changed_and_nothing_when_nothing_did(paths: Paths) -> None:
    values = fresh(paths)
    heard: list[Any] = []
    values.on_change.append(lambda changes, preset: heard.append((dict(changes), preset)))
    values.set({"top_k": 40})
    assert heard == []
    values.set({"top_k": 41})
    values.load_preset("Given")
    assert heard[0] == ({"top_k": 41}, None)
    assert heard[1][0]["top_k"] == 20
    assert heard[1][1] == "Given"


def test_a_full_disk_leaves_the_values_as_they_were(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    values = fresh(paths)

    def full(*_: Any, **__: Any) -> None:
        raise StorageError("“params.yaml” could not be saved: the disk is full.")

    monkeypatch.setattr("modules.sampling.values.write_yaml", full)
    with pytest.raises(StorageError):
        values.set({"top_k": 3})
    assert values.values["top_k"] == 40


def test_a_broken_file_is_kept_aside_and_the_last_good_values_are_used(paths: Paths) -> None:
    fresh(paths).set({"top_k": 3})
    paths.params_file.write_text("values: {top_k: ")
    again = fresh(paths)
    assert again.values["top_k"] == 3
    assert "params.yaml" in again.problems[0]
    assert list(paths.root.glob("params.yaml.corrupt-*"))


@pytest.mark.parametrize("text", ["- 1\n", "words"])
def test_a_file_of_another_shape_is_named_and_not_overwritten_by_defaults(paths: Paths, text: str) -> None:
    paths.params_file.write_text(text)
    again = fresh(paths)
    assert again.values == starting_values()
    assert again.problems
    again.set({"top_k": 3})
    assert any(path.read_text() == text for path in paths.root.glob("params.yaml*"))


def test_a_file_with_the_wrong_thing_under_values_starts_anew_and_says_so(paths: Paths) -> None:
    paths.params_file.write_text("values: 3\n")
    again = fresh(paths)
    assert again.values == starting_values()
    assert "values" in again.problems[0]


def test_a_bad_value_is_named_and_a_key_of_a_later_version_is_kept(paths: Paths) -> None:
    paths.params_file.write_text("preset: null\nvalues: {top_p: 7, top_k: 3, from_the_future: [1]}\n")
    again = fresh(paths)
    assert (again.values["top_k"], again.values["top_p"]) == (3, BY_NAME["top_p"].start)
    assert "top_p" in again.problems[0]
    again.set({"top_k": 4})
    assert yaml.safe_load(paths.params_file.read_text())["values"]["from_the_future"] == [1]


def test_many_threads_lose_no_change(paths: Paths) -> None:
    values = fresh(paths)
    names = ["top_k", "seed", "max_tokens", "dry_allowed_length", "no_repeat_ngram_size"]
    threads = [threading.Thread(target=values.set, args=({name: 17},)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(fresh(paths).values[name] == 17 for name in names)


def test_a_fresh_installation_names_the_preset_whose_values_it_uses(paths: Paths) -> None:
    shipped = Presets(Path(__file__).parents[2] / "presets", paths.presets)
    values = ParamValues(paths, shipped)
    assert (values.preset, values.modified) == (START_PRESET, False)
    values.set({"temperature": 1.5})
    assert (values.preset, values.modified) == (START_PRESET, True)
    values.set({"top_k": 7})
    values.reset()
    assert (values.preset, values.modified) == (START_PRESET, False)
    assert ParamValues(paths, shipped).preset == START_PRESET

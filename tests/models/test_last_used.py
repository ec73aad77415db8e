"""models.yaml: what was used last."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.models.last_used import LastUsed


def test_what_was_used_is_known_to_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    LastUsed(file).remember("a/model", "llama.cpp", {"context": 4096})
    LastUsed(file).remember("b", "echo", {})
    again = LastUsed(file)
    assert again.last == "b"
    assert again.of("a/model") == ("llama.cpp", {"context": 4096})
    assert again.of("unknown") == (None, {})
    assert again.problems == []


@pytest.mark.parametrize(
    "text", ["[1, 2", "- a list", "last: 5", "models: {a: 3, b: {loader: [], settings: x, others: [1]}}"]
)
def test_a_file_that_makes_no_sense_is_nothing_lost_but_memory(tmp_path: Path, text: str) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(text)
    used = LastUsed(file)
    assert used.last is None
    assert used.of("a") == used.of("b") == (None, {})
    used.remember("a", "echo", {})
    assert LastUsed(file).last == "a"


def test_a_disk_that_refuses_costs_only_the_memory_of_it(tmp_path: Path) -> None:
    used = LastUsed(tmp_path / "gone" / "models.yaml")
    used.remember("a", "echo", {})
    assert used.last == "a"
    assert len(used.problems) == 1


def test_each_loader_of_a_model_keeps_its_own_settings(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    used = LastUsed(file)
    used.remember("a", "llama.cpp", {"context": 4096})
    used.remember("a", "transformers", {"dtype": "float16"})
    for one in (used, LastUsed(file)):
        assert one.of("a") == ("transformers", {"dtype": "float16"})
        assert one.settings_of("a", "llama.cpp") == {"context": 4096}
        assert one.settings_of("a", "transformers") == {"dtype": "float16"}
        assert one.settings_of("a", "echo") == one.settings_of("b", "echo") == {}
    used.remember("a", "llama.cpp", {})
    assert LastUsed(file).settings_of("a", "llama.cpp") == {}
    assert LastUsed(file).settings_of("a", "transformers") == {"dtype": "float16"}
    used.remember("a", "transformers", {})
    assert LastUsed(file).settings_of("a", "llama.cpp") == {}


def test_forgetting_is_for_one_model_and_one_loader(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    used = LastUsed(file)
    used.remember("a", "llama.cpp", {"context": 4096})
    used.remember("a", "transformers", {"dtype": "float16"})
    used.forget("a", "llama.cpp")
    used.forget("b", "llama.cpp")
    assert LastUsed(file).settings_of("a", "llama.cpp") == {}
    assert LastUsed(file).of("a") == ("transformers", {"dtype": "float16"})
    used.forget("a", "transformers")
    assert LastUsed(file).of("a") == ("transformers", {})

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


@pytest.mark.parametrize("text", ["[1, 2", "- a list", "last: 5", "models: {a: 3, b: {loader: [], settings: x}}"])
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

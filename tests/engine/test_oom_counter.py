"""The kernel's count of what it killed for want of memory."""

from __future__ import annotations

from pathlib import Path

from modules.engine.oom_counter import oom_kills


def test_the_counts_of_the_machine_and_of_the_own_group_are_summed_up(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 5\noom_kill 2\npgfault 7\n")
    (tmp_path / "own").write_text("0::/box\n")
    (tmp_path / "cgroup/box").mkdir(parents=True)
    (tmp_path / "cgroup/box/memory.events").write_text("low 0\noom 3\noom_kill 1\n")
    assert oom_kills(tmp_path / "vmstat", tmp_path / "own", tmp_path / "cgroup") == 3


def test_where_nobody_counts_that_is_told(tmp_path: Path) -> None:
    assert oom_kills(tmp_path / "no", tmp_path / "no", tmp_path / "no") is None

"""The bounded log of a worker."""

from __future__ import annotations

from pathlib import Path

from modules.engine.worker_log import KEPT_RUNS, WorkerLog


def test_each_run_has_its_own_file_and_old_ones_go(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "logs" / "engine.log")
    for run in range(KEPT_RUNS + 3):
        with log.open() as file:
            file.write(b"run %d\n" % run)
    assert log.tail() == [f"run {KEPT_RUNS + 2}"]
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [
        *(f"engine.{number}.log" for number in range(1, KEPT_RUNS + 1)),
        "engine.log",
    ]


def test_a_log_that_grows_is_cut_while_the_worker_goes_on_writing(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "engine.log", limit=1000)
    with log.open() as file:
        for line in range(100):
            file.write(b"line number %03d\n" % line)
        assert log.size() > 1000
        assert log.trim()
        assert not log.trim()
        assert log.size() < 1000
        file.write(b"after the cut\n")
    lines = log.tail()
    assert lines[0] == "... earlier lines were cut ..."
    assert lines[-2:] == ["line number 099", "after the cut"]


def test_a_tail_begins_with_a_whole_line_and_survives_odd_bytes(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "engine.log")
    with log.open() as file:
        file.write(b"first line\nsecond \xff line\n")
    assert log.tail_bytes(20) == b"second \xff line\n"
    assert log.tail(1) == ["second \ufffd line"]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "none.log")
    assert (log.tail(), log.size(), log.trim()) == ([], 0, False)

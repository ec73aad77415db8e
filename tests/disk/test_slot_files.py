"""Saved prompts on disk: the limit, what goes first, what is never touched, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from modules.disk import slot_files
from modules.disk.slot_files import Claim, Removed, Writing, reading, tidy
from modules.errors import NotFound, NotReady, StorageError
from tests.engine.making import ROOT

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Room for 1000 bytes, however large the disk is."""
    monkeypatch.setattr(slot_files, "LIMIT", 1000)
    return tmp_path / "slots"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def write(root: Path, model: Path, name: str, size: int, used: int, form: str = "form") -> Path:
    """A finished state, used at that second."""
    writing = Writing(root / form, name, str(model))
    try:
        (root / form / writing.part).write_bytes(b"x" * size)
        writing.finish(size)
    finally:
        writing.close()
    os.utime(writing.target, (used, used))
    return writing.target


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != "model.json")


def test_above_the_limit_the_ones_used_longest_ago_go_first_of_all_models_and_that_is_said(
    root: Path, model: Path
) -> None:
    write(root, model, "b", 300, 20)
    write(root, model, "a", 300, 10, "other")
    write(root, model, "d", 300, 40)
    write(root, model, "c", 300, 30, "other")
    removed = tidy(root)
    assert names(root) == ["b.slot", "c.slot", "d.slot"]
    assert removed == Removed(oldest=1, size=300)
    assert "1 used longest ago" in str(removed)
    assert str(tidy(root)) == "", "nothing is said where nothing was deleted"


def test_reading_counts_as_a_use(root: Path, model: Path) -> None:
    for number, name in enumerate("abcd"):
        write(root, model, name, 300, 10 * number)
    reading(root / "form", "a").release()
    tidy(root)
    assert names(root) == ["a.slot", "c.slot", "d.slot"]


def test_what_is_being_read_or_was_just_written_is_not_deleted(root: Path, model: Path) -> None:
    for number, name in enumerate("abcde"):
        write(root, model, name, 500, 10 * number)
    held = reading(root / "form", "b")
    os.utime(held.path, (1, 1))
    tidy(root, keep=root / "form" / "a.slot")
    assert names(root) == ["a.slot", "b.slot"]
    held.release()
    tidy(root, keep=root / "form" / "a.slot")
    assert names(root) == ["a.slot", "b.slot"], "they are within the limit"


def test_what_is_being_written_is_not_taken_for_a_leftover(root: Path, model: Path) -> None:
    writing = Writing(root / "form", "tale", str(model))
    (root / "form" / writing.part).write_bytes(b"half")
    tidy(root)
    assert names(root) == ["tale.slot.part"]
    writing.close()
    assert names(root) == [], "and it is gone when it was not finished"


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX's")
def test_what_a_killed_program_was_writing_is_deleted(root: Path, model: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from modules.disk.slot_files import Writing\n"
        "w = Writing(Path(sys.argv[1]), 'tale', sys.argv[2]); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root / "form"), str(model)], cwd=ROOT, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        tidy(root)
        assert names(root) == ["tale.slot.part"]
        child.send_signal(signal.SIGKILL)
    tidy(root)
    assert not (root / "form").exists(), "an empty folder goes too"


def test_what_was_not_written_whole_is_not_kept_and_the_old_one_stays(root: Path, model: Path) -> None:
    write(root, model, "tale", 100, 10)
    for said, there in ((300, 200), (0, 200), (0, 0)):
        writing = Writing(root / "form", "tale", str(model))
        (root / "form" / writing.part).write_bytes(b"y" * there)
        with pytest.raises(StorageError, match="MiB of the disk are free"):
            writing.finish(said)
        writing.close()
    assert names(root) == ["tale.slot"]
    assert (root / "form" / "tale.slot").read_bytes() == b"x" * 100


def test_one_that_is_larger_than_the_limit_is_refused_with_both_sizes(root: Path, model: Path) -> None:
    with pytest.raises(StorageError, match="may take"):
        write(root, model, "tale", 1001, 10)
    assert names(root) == []


def test_a_disk_that_is_nearly_full_lowers_the_limit(root: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate("abc"):
        write(root, model, name, 300, 10 * number)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 600))  # a quarter of 600 + 900 is 375
    tidy(root)
    assert names(root) == ["c.slot"]


def test_a_name_is_not_written_twice_at_a_time_nor_written_while_it_is_read(root: Path, model: Path) -> None:
    first = Writing(root / "form", "tale", str(model))
    with pytest.raises(NotReady):
        Writing(root / "form", "tale", str(model))
    first.close()
    write(root, model, "tale", 10, 10)
    held = [reading(root / "form", "tale"), reading(root / "form", "tale")]
    with pytest.raises(NotReady):
        Writing(root / "form", "tale", str(model))
    assert names(root) == ["tale.slot"], "its part is not left behind"
    for claim in held:
        claim.release()
    writing = Writing(root / "form", "tale", str(model))
    with pytest.raises(NotReady):
        reading(root / "form", "tale")
    writing.close()


def test_one_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(NotFound, match="tale"):
        reading(root / "form", "tale")


def test_states_of_a_model_file_that_is_gone_or_another_one_are_deleted(root: Path, model: Path) -> None:
    other = model.with_name("other.gguf")
    other.write_bytes(b"other")
    write(root, model, "a", 10, 10)
    write(root, other, "b", 10, 10, "other")
    tidy(root)
    assert names(root) == ["a.slot", "b.slot"]
    model.unlink()
    removed = tidy(root)
    assert (names(root), removed) == (["b.slot"], Removed(orphans=1, size=10))
    assert "models that are gone" in str(removed)
    assert not (root / "form").exists()
    other.write_bytes(b"another model of that name")
    tidy(root)
    assert names(root) == []


def test_a_drive_that_was_taken_out_is_no_model_that_is_gone(root: Path, model: Path) -> None:
    write(root, model, "a", 10, 10)
    shutil.rmtree(model.parent)
    tidy(root)
    assert names(root) == ["a.slot"]


def test_what_a_link_leads_to_is_somebody_elses(root: Path, model: Path, tmp_path: Path) -> None:
    write(root, model, "a", 10, 10)
    mine = tmp_path / "mine"
    mine.mkdir()
    for name, size in (("film.mp4.part", 10), ("large.slot", 5000)):
        (mine / name).write_bytes(b"x" * size)
    (root / "link").symlink_to(mine, target_is_directory=True)
    tidy(root)
    assert sorted(path.name for path in mine.iterdir()) == ["film.mp4.part", "large.slot"]
    assert (root / "form" / "a.slot").exists(), "it does not count either"


def test_a_note_that_cannot_be_read_leaves_the_states_to_the_limit(root: Path, model: Path) -> None:
    write(root, model, "a", 600, 10)
    write(root, model, "b", 600, 20)
    (root / "form" / "model.json").write_text("[not an object")
    tidy(root)
    assert names(root) == ["b.slot"]


def test_a_file_that_was_replaced_before_it_was_held_is_not_held(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(root, model, "a", 10, 10)
    locked = slot_files._locked

    def late(fd: int, alone: bool) -> bool:
        path.with_name("new").write_bytes(b"new")
        os.replace(path.with_name("new"), path)
        return locked(fd, alone)

    monkeypatch.setattr(slot_files, "_locked", late)
    with pytest.raises(FileNotFoundError):
        Claim.of(path, alone=False)

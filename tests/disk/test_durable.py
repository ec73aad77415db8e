"""modules/disk/durable.py: what was there stays there until the new thing is whole."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.disk import durable
from modules.disk.durable import append_durably, durable_write, make_folder, move_durably, read_yaml, write_yaml
from modules.errors import Conflict, StorageError
from tests.faults import power_loss

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes, links and folder fsync are POSIX things")


class FailingOs:
    """`os` with one function that fails from the given call on."""

    def __init__(self, function: str, code: int, after: int = 0, stores: int = 0) -> None:
        self.function, self.code, self.left, self.stores = function, code, after, stores

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name != self.function:
            return real

        def call(*args: Any) -> Any:
            self.left -= 1
            if self.left >= 0:
                return real(*args)
            if self.stores:
                real(args[0], bytes(args[1])[: self.stores])
            raise OSError(self.code, os.strerror(self.code))

        return call


def test_a_write_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    durable_write(path, "long content")
    durable_write(path, "ü")
    assert path.read_bytes() == "ü".encode()
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


@posix_only
def test_permissions_survive_a_write_and_can_be_set_for_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    durable_write(path, "secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    durable_write(path, "other", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@posix_only
def test_a_link_is_written_through_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "s.txt").write_text("old")
    (tmp_path / "s.txt").symlink_to(tmp_path / "real" / "s.txt")
    durable_write(tmp_path / "s.txt", "new")
    assert (tmp_path / "s.txt").is_symlink()
    assert (tmp_path / "real" / "s.txt").read_text() == "new"


@pytest.mark.parametrize("function", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_a_refusing_disk_keeps_the_old_content_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, words: str
) -> None:
    path = tmp_path / "a.txt"
    durable_write(path, "old")
    monkeypatch.setattr(durable, "os", FailingOs(function, code))
    with pytest.raises(StorageError, match=words) as caught:
        durable_write(path, "new")
    assert caught.value.hint
    assert str(tmp_path) not in caught.value.message
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_in_pieces_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "os", Dribbling())
    durable_write(tmp_path / "a", b"0123456789" * 10)
    assert (tmp_path / "a").read_bytes() == b"0123456789" * 10
    assert append_durably(tmp_path / "a", b"end\n") == 104
    assert (tmp_path / "a").read_bytes().endswith(b"9end\n")


class Dribbling:
    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: memoryview) -> int:
        return os.write(fd, bytes(data)[:7])


@pytest.mark.parametrize(("function", "stores"), [("write", 0), ("write", 3), ("fsync", 0)])
def test_a_failed_append_is_cut_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, stores: int
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", FailingOs(function, errno.ENOSPC, stores=stores))
        with pytest.raises(StorageError, match="disk is full"):
            append_durably(path, b"second\n")
    assert path.read_bytes() == b"one\n"
    assert append_durably(path, b"three\n", 4) == 10
    assert path.read_bytes() == b"one\nthree\n"


def test_an_append_to_a_file_somebody_else_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\nforeign\n")
    with pytest.raises(Conflict):
        append_durably(path, b"two\n", 4)
    assert path.read_bytes() == b"one\nforeign\n"


def test_an_append_never_makes_a_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"):
        append_durably(tmp_path / "log", b"x\n")
    assert not (tmp_path / "log").exists()


def test_moving_and_making_folders(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "x").write_text("x")
    move_durably(tmp_path / "x", tmp_path / "a" / "b" / "y")
    assert (tmp_path / "a" / "b" / "y").read_text() == "x"
    with pytest.raises(StorageError, match="moved"):
        move_durably(tmp_path / "x", tmp_path / "z")


def test_only_leftovers_of_a_crash_are_tidied(tmp_path: Path) -> None:
    for name in (".a.yaml.tmp-12ab34cd", "a.yaml", ".hidden", "b.tmp-1"):
        (tmp_path / name).write_text("")
    assert durable.remove_leftovers(tmp_path) == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == [".hidden", "a.yaml", "b.tmp-1"]


# ── YAML ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_yaml_file_is_no_problem(tmp_path: Path) -> None:
    assert read_yaml(tmp_path / "s.yaml") == (None, None)


@pytest.mark.parametrize(
    "bad", [b"a: [1", b"\xff\xfe\x00", b"\0" * 40, b"x: !!bool nonsense", b"d: 2026-99-99", b"[" * 5000, b"{a: b}: {c"]
)
def test_a_bad_yaml_file_is_put_aside_and_the_last_good_copy_is_used(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "s.yaml"
    write_yaml(path, {"port": 7, "name": "ä"}, comment="Mine.")
    path.write_bytes(bad)
    value, problem = read_yaml(path)
    assert value == {"port": 7, "name": "ä"}
    assert problem is not None
    assert "last good copy" in problem
    aside = list(tmp_path.glob("s.yaml.corrupt-*"))
    assert [one.read_bytes() for one in aside] == [bad]
    assert aside[0].name in problem
    assert read_yaml(path) == (value, None)
    assert path.read_text(encoding="utf-8").startswith("# Mine.\n")


def test_defaults_written_after_a_bad_file_do_not_destroy_it(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for bad in (b"a: [1", b"b: [2"):
        path.write_bytes(bad)
        value, problem = read_yaml(path)
        assert problem is not None
        assert value in (None, {"default": True})
        write_yaml(path, {"default": True})
    assert sorted(one.read_bytes() for one in tmp_path.glob("s.yaml.corrupt-*")) == [b"a: [1", b"b: [2"]


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root can read everything")
def test_a_yaml_file_without_read_permission_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    write_yaml(path, [1])
    path.chmod(0)
    assert read_yaml(path)[0] == [1]
    assert len(list(tmp_path.glob("s.yaml.corrupt-*"))) == 1


def test_a_folder_where_yaml_should_be_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").mkdir()
    value, problem = read_yaml(tmp_path / "s.yaml")
    assert value is None
    assert problem is not None
    assert len(list(tmp_path.glob("s.yaml.corrupt-*"))) == 1


def test_reading_leaves_a_good_file_alone_and_copies_it_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("# by hand\na: 1\n")
    assert read_yaml(path) == ({"a": 1}, None)
    assert [one.name for one in tmp_path.iterdir()] == ["s.yaml"]
    assert read_yaml(path, keep_copy=True) == ({"a": 1}, None)
    path.write_text("a: [")
    assert read_yaml(path)[0] == {"a": 1}


def test_a_copy_that_cannot_be_kept_does_not_fail_the_write(tmp_path: Path) -> None:
    (tmp_path / durable.LAST_GOOD).write_text("a file where the folder should be")
    write_yaml(tmp_path / "s.yaml", {"a": 1})
    assert read_yaml(tmp_path / "s.yaml") == ({"a": 1}, None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(value=st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_written_as_yaml_is_read_back(tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("yaml") / "v.yaml"
    write_yaml(path, value, comment="two\nlines")
    assert read_yaml(path) == (value, None)


# ── power loss ──────────────────────────────────────────────────────────────────────────────────────

needs_folder_fsync = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fsync of folders to watch")


@needs_folder_fsync
def test_a_power_cut_at_any_step_of_any_save_breaks_no_promise() -> None:
    figures = power_loss.run()
    assert figures.violations == []
    assert figures.states > 250


@needs_folder_fsync
@pytest.mark.parametrize(
    ("safeguard", "scenarios"),
    [
        ("fsync", ("settings", "turns")),
        ("fsync folder", ("settings", "trash")),
        ("rename", ("settings", "compaction")),
        ("cut", ("full disk", "torn line")),
    ],
)
def test_the_power_loss_check_notices_a_missing_safeguard(safeguard: str, scenarios: tuple[str, ...]) -> None:
    for scenario in scenarios:
        assert power_loss.run(safeguard, (scenario,), first_only=True).violations, scenario

"""modules/chats/journal.py: one file per chat, read whatever happened to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.chats.journal import Journal, decode, encode
from modules.chats.session import ChatSession
from modules.disk import durable
from modules.errors import Conflict, NotFound, StorageError

TIME = "2026-11-21T12:00:00.000Z"


def records() -> list[dict[str, Any]]:
    """One of each kind, with text that is easy to tear."""
    base: list[dict[str, Any]] = [
        {"kind": "message", "id": "a", "parent": None, "role": "user", "text": "Grüße 🦀\n\"quoted\" \\ end"},
        {"kind": "message", "id": "b", "parent": "a", "role": "assistant", "text": "", "state": "running"},
        {"kind": "partial", "message": "b", "at": 0, "text": "Eins", "reasoning_at": 0, "reasoning": ""},
        {"kind": "partial", "message": "b", "at": 4, "text": " zwei", "reasoning_at": 0, "reasoning": "hm"},
        {"kind": "final", "message": "b", "text": "Eins zwei drei", "reasoning": "hm", "state": "done"},
        {"kind": "from later", "colour": "blue"},
        {"kind": "message", "id": "c", "parent": "b", "role": "user", "text": "more", "mood": "good"},
        {"kind": "delete", "message": "c", "leaf": "b"},
        {"kind": "title", "title": "T"},
    ]  # fmt: skip
    return [{**one, "seq": number, "rev": number, "time": TIME} for number, one in enumerate(base, 1)]


def journal(folder: Path) -> Path:
    path = folder / "c.jsonl"
    made = Journal.create(path, {"id": "c", "time": TIME, "title": ""})
    made.append(records())
    return path


def facts(path: Path) -> list[dict[str, Any]]:
    return Journal.open(path)[1]


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    opened, found, problems = Journal.open(journal(tmp_path))
    assert found[1:] == records()
    assert problems == []
    assert opened.length == (tmp_path / "c.jsonl").stat().st_size


def test_cut_at_every_byte_the_journal_keeps_every_record_before_the_cut_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # some thousand files; the power stays on
    path = journal(tmp_path)
    raw, whole = path.read_bytes(), facts(path)
    ends = [at + 1 for at, byte in enumerate(raw) if byte == 10]
    more = {"kind": "title", "title": "after", "seq": 99, "rev": 99, "time": TIME}
    for cut in range(ends[0], len(raw)):
        path.write_bytes(raw[:cut])
        whole_lines = sum(end <= cut for end in ends)
        opened, found, problems = Journal.open(path)
        # The record cut just before its newline is whole too, and may count.
        assert found == whole[: len(found)]
        assert whole_lines <= len(found) <= whole_lines + (cut + 1 in ends)
        assert problems == []
        opened.append([more])
        assert facts(path) == [*found, more]
        torn = raw[max(end for end in ends if end <= cut) : cut] if len(found) == whole_lines else b""
        asides = list(tmp_path.glob("c.jsonl.torn-*"))
        assert b"".join(one.read_bytes() for one in asides) == torn
        for one in asides:
            one.unlink()


def test_a_last_line_without_its_newline_counts_and_gets_one(tmp_path: Path) -> None:
    path = journal(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    opened, found, _ = Journal.open(path)
    assert found[1:] == records()
    opened.append(records()[:1])
    opened.append(records()[1:2])
    assert Journal.open(path)[1:] == ([*found, *records()[:2]], [])


@pytest.mark.parametrize("tail", [b"\0" * 300, b'\0\0\0e":1}\n', b'{"kind":"mess\0\0\0\0\n'])
def test_zeros_that_a_power_cut_left_are_a_torn_line(tmp_path: Path, tail: bytes) -> None:
    path = journal(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw + tail)
    opened, found, problems = Journal.open(path)
    assert found[1:] == records()
    assert problems == []
    opened.append([records()[0]])
    assert path.read_bytes() == raw + encode(records()[0])


def test_reading_changes_no_byte(tmp_path: Path) -> None:
    path = journal(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"torn')
    before = path.read_bytes()
    ChatSession.open("c", path).snapshot()
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["c.jsonl"]


@pytest.mark.parametrize("line", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("junk", [b"", b"???", b"[1,2]", b'{"kind":7}', b"\xff\xfe", b"[" * 100_000, b'"' + b"x" * 9])
def test_a_damaged_line_costs_only_itself(tmp_path: Path, line: int, junk: bytes) -> None:
    path = journal(tmp_path)
    lines = path.read_bytes().split(b"\n")
    whole = facts(path)
    lines[line] = junk
    path.write_bytes(b"\n".join(lines))
    opened, found, problems = Journal.open(path)
    assert found == whole[:line] + whole[line + 1 :]
    assert len(problems) == 1
    assert f"Line {line + 1} " in problems[0]
    opened.append([records()[0]])
    assert junk + b"\n" in path.read_bytes(), "the damaged line is kept"


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 2000), junk=st.binary(min_size=1, max_size=20))
def test_whatever_is_written_over_a_journal_all_other_lines_are_read(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
) -> None:
    path = journal(tmp_path_factory.mktemp("j"))
    raw = path.read_bytes()
    at = min(at, len(raw) - 1)
    spoilt = (raw[:at] + junk + raw[at + len(junk) :])[: len(raw)]
    path.write_bytes(spoilt)
    first, last = raw.count(b"\n", 0, at), raw.count(b"\n", 0, min(at + len(junk), len(raw) - 1))
    untouched = raw.split(b"\n")[:first] + raw.split(b"\n")[last + 1 : -1]
    session = ChatSession.open("c", path)
    found = facts(path)
    for line in untouched:
        assert decode(line) in found
    session.commit({"kind": "title", "title": "goes on"})
    assert ChatSession.open("c", path).snapshot().title == "goes on"


def test_a_lost_first_line_loses_no_message(tmp_path: Path) -> None:
    path = journal(tmp_path)
    path.write_bytes(b"garbage\n" + path.read_bytes().split(b"\n", 1)[1])
    session = ChatSession.open("c", path)
    assert session.tree.title == "T"
    assert session.snapshot().created == TIME
    assert len(session.problems) == 2


def test_compaction_drops_only_partials_of_ended_replies(tmp_path: Path) -> None:
    path = journal(tmp_path)
    running = [
        {"kind": "message", "id": "r", "parent": "a", "role": "assistant", "text": "", "state": "running", "seq": 10,
         "rev": 10, "time": TIME},
        {"kind": "partial", "message": "r", "at": 0, "text": "kept", "seq": 11, "time": TIME},
    ]  # fmt: skip
    Journal.open(path)[0].append(running)
    path.write_bytes(path.read_bytes() + b"junk line\n")
    before, lines = ChatSession.open("c", path).snapshot(), path.read_bytes().splitlines()
    opened = Journal.open(path)[0]
    opened.compact()
    assert ChatSession.open("c", path).snapshot() == before
    assert path.read_bytes().splitlines() == lines[:3] + lines[5:]
    opened.append([records()[0]])
    assert opened.length == path.stat().st_size
    assert facts(path)[-1] == records()[0]


def test_compaction_leaves_a_file_alone_that_another_program_changed(tmp_path: Path) -> None:
    path = journal(tmp_path)
    opened = Journal.open(path)[0]
    path.write_bytes(path.read_bytes() + encode(records()[0]))
    before = path.read_bytes()
    opened.compact()
    assert path.read_bytes() == before
    assert opened.changed()
    with pytest.raises(Conflict):
        opened.append([records()[0]])


def test_a_failed_append_that_could_not_be_cut_back_is_cut_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal(tmp_path)
    opened, before = Journal.open(path)[0], path.read_bytes()

    class Dying:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, fd: int, data: memoryview) -> int:
            os.write(fd, bytes(data)[:9])
            raise OSError(errno.EIO, "gone")

        def ftruncate(self, fd: int, length: int) -> None:
            raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", Dying())
        with pytest.raises(StorageError):
            opened.append([records()[0]])
    assert path.read_bytes() != before
    assert not opened.changed(), "our own torn line is no change of another program"
    opened.append([records()[0]])
    assert path.read_bytes() == before + encode(records()[0])


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Journal.open(tmp_path / "none.jsonl")

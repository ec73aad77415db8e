"""One chat's file: JSON Lines, appended to and never rewritten, but for compaction.

A record counts once its line, newline included, has been fsynced. Whatever stands after the last
newline is a torn write: it is passed over when reading and kept aside before the next append, so no
later record is glued to it. A line in the middle that cannot be read costs only itself.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modules.chats.tree import Record
from modules.disk.durable import append_durably, cut_durably, durable_write, free_name, storage_error
from modules.errors import NotFound, StorageError

_log = logging.getLogger(__name__)
FORMAT = 1
COMPACT_FROM = 64 * 1024
"""Bytes of partials that are not worth a rewrite yet."""
_PRIVATE = 0o600


class Journal:
    """The file and how far it is known to be good. Not thread-safe: its owner locks.

    length    bytes up to the last good line
    partials  bytes of them that are partials; compaction can win those back
    """

    def __init__(self, path: Path, length: int, partials: int = 0, tail: bytes = b"", glue: bytes = b"") -> None:
        self.path = path
        self.length = length
        self.partials = partials
        self._tail = tail
        self._glue = glue
        self._doubtful = False
        self._drive = _drive(path)

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Journal:
        """A new file with its header line. Raises StorageError."""
        line = encode({"kind": "header", "format": FORMAT, **header})
        durable_write(path, line, mode=_PRIVATE)
        return cls(path, len(line))

    @classmethod
    def open(cls, path: Path) -> tuple[Journal, list[Record], list[str]]:
        """The journal, its records in order, and a sentence for each damaged line.

        Nothing is written. Raises NotFound or StorageError.
        """
        raw = _read(path)
        lines = raw.split(b"\n")
        tail = lines.pop()
        if not tail and lines and b"\0" in lines[-1]:  # torn too: the power went with only its end written
            tail = lines.pop() + b"\n"
        records: list[Record] = []
        problems: list[str] = []
        partials = 0
        for number, line in enumerate(lines, 1):
            record = decode(line)
            if record is None:
                problems.append(f"Line {number} of {path.name} is damaged. It is kept, and passed over.")
                continue
            records.append(record)
            partials += len(line) + 1 if record["kind"] == "partial" else 0
        last = decode(tail) if tail else None
        if last is None:
            return cls(path, len(raw) - len(tail), partials, tail), records, problems
        # A whole record without its newline: an editor stripped it, or the cut fell exactly there.
        return cls(path, len(raw), partials, glue=b"\n"), [*records, last], problems

    def append(self, records: Sequence[Record]) -> None:
        """Write `records` in one go; on return they are on the disk.

        Raises StorageError (nothing of them counts, the file is as before) or Conflict (another program
        wrote to the file: open it again).
        """
        if self.missing():  # said before anything is doubted: a file that comes back is as it was left
            raise storage_error(self.path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        self._repair()
        lines = [encode(record) for record in records]
        try:
            self.length = append_durably(self.path, self._glue + b"".join(lines), self.length)
        except StorageError:
            self._doubtful = self._size() != self.length
            raise
        self._glue = b""
        self.partials += sum(
            len(line) for line, record in zip(lines, records, strict=True) if record["kind"] == "partial"
        )

    def read(self) -> bytes:
        """The file as it is. Raises NotFound or StorageError."""
        return _read(self.path)

    def missing(self) -> bool:
        """Whether there is no such file now: removed, or its folder or drive is away."""
        return self._size() < 0

    def renew(self, header: Mapping[str, Any], records: Sequence[Record]) -> None:
        """Write the whole file anew, in place of one that is gone.

        Raises StorageError; also where the folder is on another drive than it was (the mount point of a drive
        that is away), for there the file would be hidden as soon as the drive is back.
        """
        if _drive(self.path) != self._drive:
            raise storage_error(self.path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        lines = [encode({"kind": "header", "format": FORMAT, **header}), *map(encode, records)]
        durable_write(self.path, b"".join(lines), mode=_PRIVATE)
        self.length, self.partials = sum(map(len, lines)), 0
        self._tail, self._glue, self._doubtful = b"", b"", False

    def changed(self) -> bool:
        """Whether another program wrote to the file since it was read."""
        return not self._doubtful and self._size() != self.length + len(self._tail)

    def worth_compacting(self) -> bool:
        """Whether most of the file is partials; asked at the end of a reply, so the cost is spread thin."""
        return self.partials > COMPACT_FROM and self.partials * 2 > self.length

    def compact(self) -> None:
        """Drop the partials of replies whose final line is there; all else, unknown and damaged lines too,
        stays byte for byte.

        Call only while no reply runs. Raises StorageError; the old file is then still there.
        """
        self._repair()
        raw = _read(self.path)
        if len(raw) != self.length:
            return
        lines = [line + b"\n" for line in raw.removesuffix(b"\n").split(b"\n")]
        records = [decode(line) for line in lines]
        ended = {str(record.get("message")) for record in records if record and record["kind"] == "final"}
        kept = [line for line, record in zip(lines, records, strict=True) if not _spent(record, ended)]
        durable_write(self.path, b"".join(kept), mode=_PRIVATE)
        self.length = sum(map(len, kept))
        self.partials = 0
        self._glue = b""

    def _repair(self) -> None:
        if self._doubtful:  # our own failed append could not be cut back then; nothing of it counts
            if self._size() > self.length:
                cut_durably(self.path, self.length)
            self._doubtful = False
        if self._tail:
            if self._tail.strip(b"\0 \r\n\t"):
                aside = free_name(self.path, "torn")
                durable_write(aside, self._tail, mode=_PRIVATE)
                _log.warning("%s ended in a torn line; it is kept as %s", self.path.name, aside.name)
            cut_durably(self.path, self.length)
            self._tail = b""

    def _size(self) -> int:
        try:
            return os.stat(self.path).st_size
        except OSError:
            return -1


def encode(record: Mapping[str, Any]) -> bytes:
    """One line. JSON text never holds a bare newline, so a line is a record."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode(line: bytes) -> Record | None:
    """The record in `line`, or None if there is none that can be read."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("kind"), str) else None


def _spent(record: Record | None, ended: set[str]) -> bool:
    return record is not None and record["kind"] == "partial" and str(record.get("message")) in ended


def _drive(path: Path) -> int | None:
    """The device the folder of `path` is on; None while it is away."""
    try:
        return os.stat(path.parent).st_dev
    except OSError:
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        if not path.parent.is_dir():  # the chat may well exist: its folder or drive is away
            raise storage_error(path, error, "read") from error
        raise NotFound("This chat does not exist.", hint="It may have been deleted in another window.") from None
    except OSError as error:
        raise storage_error(path, error, "read") from error

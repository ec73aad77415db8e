"""What a worker writes to stderr: a bounded file, whose tail explains a crash.

The worker writes to the file itself, so logging costs the server nothing and the last words of a dying engine
are on disk. The server cuts the file when it has grown over its limit and keeps one older part.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LIMIT = 4 * 1024 * 1024
KEPT_RUNS = 3


@dataclass(frozen=True, slots=True)
class WorkerLog:
    """The log of one worker at a time: `engine.log`, with `engine.1.log` … the runs before it."""

    path: Path
    limit: int = LIMIT

    def open(self) -> BinaryIO:
        """A fresh file for a new worker; earlier runs move up one number."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for number in range(KEPT_RUNS, 0, -1):
            newer = self.path if number == 1 else self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError, PermissionError):  # PermissionError: open on Windows
                os.replace(newer, self._numbered(number))
        return open(self.path, "ab", buffering=0)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")

    def trim(self) -> bool:
        """Keep the file below its limit; True when it was cut. The last quarter of it stays readable."""
        if self.size() <= self.limit:
            return False
        try:
            kept = self.tail_bytes(self.limit // 4)
            with open(self.path, "r+b") as file:
                file.truncate(0)
            with open(self.path, "ab") as file:
                file.write(b"... earlier lines were cut ...\n" + kept)
        except OSError:  # a full disk must not end the engine; the next look tries again
            return False
        return True

    def size(self) -> int:
        """Bytes in the file; 0 when there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def tail_bytes(self, size: int = 64 * 1024) -> bytes:
        """The last `size` bytes, from the start of a line; empty when there is no file."""
        try:
            with open(self.path, "rb") as file:
                length = file.seek(0, os.SEEK_END)
                file.seek(max(0, length - size))
                data = file.read(size)
        except OSError:
            return b""
        return data if length <= size else data.partition(b"\n")[2]

    def read_from(self, start: int, size: int) -> bytes:
        """At most `size` bytes from there on; empty when there is no file, or it was cut meanwhile."""
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                return file.read(size)
        except OSError:
            return b""

    def tail(self, lines: int = 200) -> list[str]:
        """The last lines as text."""
        return self.tail_bytes().decode("utf-8", "replace").splitlines()[-lines:]

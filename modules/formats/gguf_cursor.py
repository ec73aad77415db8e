"""Walks through an untrusted file with a bounded window, bounded reading and bounded work."""

from __future__ import annotations

import struct
import time
from typing import BinaryIO

WINDOW = 256 * 1024
MAX_READ = 48 * 1024 * 1024
MAX_SECONDS = 0.8
_EVERY = 4096


class EndOfFile(Exception):
    """The file ends before what its own numbers promise."""


class TooMuch(Exception):
    """Reading on would take more bytes or time than any real file needs."""


class Cursor:
    """A position in a file that never trusts a length.

    Holds one window of the file. Skipping is a seek, so a promised terabyte costs nothing; a length that
    goes past the end raises EndOfFile before anything is allocated. Time is counted as this thread's own
    work, so that a slow disk does not fail a sound file; bytes read are counted too, so that it ends.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self.order = "<"
        self._file = file
        self._window = b""
        self._base = 0
        self._at = 0
        self._read = 0
        self._until = time.thread_time() + MAX_SECONDS

    @property
    def position(self) -> int:
        """Offset in the file, in bytes."""
        return self._base + self._at

    def rewind_to(self, position: int) -> None:
        """Back to a place in the first window, while that is still held."""
        self._at = position - self._base

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises EndOfFile, TooMuch."""
        self._need(count)
        piece = self._window[self._at : self._at + count]
        self._at += count
        return piece

    def number(self, letter: str) -> int:
        """One whole number by its struct letter."""
        value: int = self.value(letter)  # type: ignore[assignment]
        return value

    def value(self, letter: str) -> int | float | bool:
        """One plain value by its struct letter."""
        found: int | float | bool = struct.unpack(self.order + letter, self.take(struct.calcsize("<" + letter)))[0]
        return found

    def skip(self, count: int) -> None:
        """Move on by `count` bytes without reading them. Raises EndOfFile."""
        if count < 0 or self.position + count > self.size:
            raise EndOfFile
        self._at += count

    def skip_strings(self, count: int, letter: str) -> None:
        """Move over `count` strings, each with its length in front as struct `letter`.

        The only thing in a header that costs per item: real vocabularies have up to a million.
        """
        head = struct.Struct(self.order + letter)
        if count < 0 or count * head.size > self.size - self.position:
            raise EndOfFile
        unpack, width = head.unpack_from, head.size
        for start in range(0, count, _EVERY):
            self.check_time()
            at, last = self._at, len(self._window) - width
            for _ in range(min(_EVERY, count - start)):
                if at > last:
                    self._at = at
                    self._need(width)
                    at, last = self._at, len(self._window) - width
                at += width + unpack(self._window, at)[0]
            self._at = at
        if self.position > self.size:
            raise EndOfFile

    def check_time(self) -> None:
        """Raises TooMuch once the time for one file is used up."""
        if time.thread_time() > self._until:
            raise TooMuch

    def _need(self, count: int) -> None:
        """Have `count` bytes in the window from here on."""
        if self._at + count <= len(self._window):
            return
        here = self.position
        if here + count > self.size:
            raise EndOfFile
        self._read += max(WINDOW, count)
        if self._read > MAX_READ:
            raise TooMuch
        self.check_time()
        self._file.seek(here)
        self._window = self._file.read(max(WINDOW, count))
        self._base, self._at = here, 0
        if len(self._window) < count:  # it became shorter while we read
            raise EndOfFile

"""A disk that remembers: it watches every change `modules.disk.durable` makes, and `crash_states` tells what a
power cut at any moment would have left.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from modules.disk import durable
from tests.faults import crash_states
from tests.faults.crash_states import Event, State

LIES = ("fsync", "fsync folder")


class FakeDisk:
    """Stands in for `os` inside `modules.disk.durable`; really does everything below `root`, and notes it.

    lie   a kind of step that is done but never reaches the disk, as with a drive that confirms what is
          still in its cache: with it the checks must find violations, or they check nothing
    """

    def __init__(self, root: Path, lie: str = "") -> None:
        assert lie in ("", *LIES)
        self.root = root.resolve()
        self.events: list[Event] = []
        self._lie = lie
        self._full = False
        self._fds: dict[int, tuple[str, int]] = {}
        self._names: dict[str, int] = {}
        self._contents: dict[int, bytes] = {}
        for path in sorted(self.root.rglob("*")):  # what lies there already counts as safe
            self._names[self._name(path)] = 0 if path.is_dir() else len(self._contents) + 1
            if not path.is_dir():
                self._contents[len(self._contents) + 1] = path.read_bytes()
        self._last = len(self._contents)
        self._before = dict(self._names)

    @contextmanager
    def watching(self) -> Iterator[FakeDisk]:
        """Watch while this lasts."""
        with mock.patch.object(durable, "os", self):
            yield self

    def mark(self) -> None:
        """Note that the program told somebody: what you gave me is safe."""
        self.events.append(Event("mark"))

    def fill_up(self) -> None:
        """The next write stores half its bytes and then finds the disk full."""
        self._full = True

    def crashes(self) -> Iterator[tuple[int, State]]:
        """Every state a power cut may leave, with the number of marks before it."""
        return crash_states.crashes(self._before, self._contents, self.events)

    def missed(self) -> list[str]:
        """Files below the root that are not as the noted steps make them: a change went past this disk."""
        told = crash_states.settled(self._before, self._contents, self.events)
        there = {self._name(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        return sorted(
            name for name in told.keys() | there.keys() if not name.endswith("/") and told.get(name) != there.get(name)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # ── what modules.disk.durable calls ──────────────────────────────────────────────────────────────────

    def open(self, path: Path | str, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        name = self._name(path)
        if name not in self._names and not name.endswith("/"):
            self._last += 1
            self._names[name] = self._last
            self.events.append(Event("make", name, file=self._last))
        elif flags & os.O_TRUNC:
            self.events.append(Event("cut", name, file=self._names[name], at=0))
        self._fds[fd] = (name, self._names.get(name, 0))
        return fd

    def close(self, fd: int) -> None:
        del self._fds[fd]
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        name, file = self._fds[fd]
        full, self._full = self._full, False
        raw = bytes(data)[: len(data) // 2] if full else bytes(data)
        at = os.fstat(fd).st_size  # durable only ever writes at the end of a file
        assert os.write(fd, raw) == len(raw)
        self.events.append(Event("write", name, file=file, at=at, data=raw))
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(raw)

    def ftruncate(self, fd: int, length: int) -> None:
        name, file = self._fds[fd]
        os.ftruncate(fd, length)
        self.events.append(Event("cut", name, file=file, at=length))

    def fsync(self, fd: int) -> None:
        name, file = self._fds[fd]
        what = "fsync folder" if name.endswith("/") else "fsync"
        if self._lie != what:
            self.events.append(Event(what, name, file=file))

    def replace(self, source: Path | str, target: Path | str) -> None:
        os.replace(source, target)
        old, new = self._name(source), self._name(target)
        self._names[new] = self._names.pop(old)
        self.events.append(Event("move", old, new, file=self._names[new]))

    def link(self, source: Path | str, target: Path | str, *, follow_symlinks: bool = True) -> None:
        os.link(source, target, follow_symlinks=follow_symlinks)
        self._names[self._name(target)] = self._names[self._name(source)]
        self.events.append(Event("link", self._name(target), file=self._names[self._name(source)]))

    def unlink(self, path: Path | str) -> None:
        os.unlink(path)
        del self._names[self._name(path)]
        self.events.append(Event("remove", self._name(path)))

    def mkdir(self, path: Path | str) -> None:
        os.mkdir(path)
        self._names[self._name(path)] = 0
        self.events.append(Event("folder", self._name(path)))

    def _name(self, path: Path | str) -> str:
        full = Path(os.path.abspath(path))
        name = full.relative_to(self.root).as_posix() if full != self.root else ""
        return f"{name}/" if full.is_dir() else name

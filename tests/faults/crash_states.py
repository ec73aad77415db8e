"""What a power cut may leave of a disk, worked out from the steps that were done on it.

Assumed about the file system, as POSIX and the file systems people have (ext4, XFS, btrfs, APFS) allow:

* written bytes are sure only after fsync of the file; before, each write may be missing, there in part,
  or there as zeros (the length was saved, the bytes were not);
* a name made, renamed or removed is sure only after fsync of its folder; before, any of the pending
  changes may be missing, also when a later one is there;
* a rename within a folder happens whole or not at all; across folders both names may be there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

State = dict[str, bytes]
"""What lies below the root: path → content; a folder is a path that ends in "/"."""
MOST_STATES = 400
"""Per moment; only a lying disk has more, and there the first ones tell enough."""


@dataclass(frozen=True, slots=True)
class Event:
    """One step. what: make, link, write, cut, fsync, move, remove, folder, fsync folder, mark.

    file    number of the file, which stays when it is renamed
    at      offset of a write, length after a cut
    """

    what: str
    path: str = ""
    target: str = ""
    file: int = 0
    at: int = 0
    data: bytes = b""


@dataclass(slots=True)
class _File:
    sure: bytes = b""
    steps: list[Event] = field(default_factory=list)

    def whole(self) -> bytes:
        content = self.sure
        for step in self.steps:
            content = _stepped(content, step)
        return content

    def versions(self) -> list[bytes]:
        """Everything its content may be after a power cut, the surest first."""
        found, content = [self.sure], self.sure
        for step in self.steps:
            if step.what == "write":
                size = len(step.data)
                torn = [step.data[:length] for length in {1, size // 2, size - 1}]
                torn += [bytes(size), step.data[: size // 2] + bytes(size - size // 2)]
                torn.append(bytes(size // 2) + step.data[size // 2 :])
                found += [content + piece for piece in torn]
            content = _stepped(content, step)
            found.append(content)
        return list(dict.fromkeys(found))


@dataclass(slots=True)
class _Naming:
    """A change of names that may be missing. level 0: not done, 1: the new name is there, 2: done."""

    event: Event
    least: int = 0

    def levels(self) -> range:
        return range(self.least, 3) if self.event.what == "move" and self.across else range(self.least, 3, 2)

    @property
    def across(self) -> bool:
        return folder_of(self.event.path) != folder_of(self.event.target)

    def synced(self, folder: str) -> None:
        """Across folders the new name is sure first; fsync of the old folder alone makes nothing sure."""
        if self.event.what == "move" and self.across:
            if folder == folder_of(self.event.target):
                self.least = max(self.least, 1)
            elif folder == folder_of(self.event.path) and self.least == 1:
                self.least = 2
        elif folder == folder_of(self.event.path):
            self.least = 2

    def apply(self, level: int, names: dict[str, int]) -> None:
        event = self.event
        if level == 0:
            return
        if event.what in ("make", "link", "folder"):
            names[event.path] = event.file
        elif event.what == "move":
            names[event.target] = event.file
            if level == 2:
                names.pop(event.path, None)
        else:
            names.pop(event.path, None)


def folder_of(path: str) -> str:
    """The folder a path lies in, as fsync events name it."""
    head = path.rstrip("/").rpartition("/")[0]
    return f"{head}/"


def crashes(
    names: Mapping[str, int], contents: Mapping[int, bytes], events: Sequence[Event]
) -> Iterator[tuple[int, State]]:
    """Every state that may be found after a power cut, each once, with the number of marks set before it."""
    seen: set[tuple[int, frozenset[tuple[str, bytes]]]] = set()
    for length in range(len(events) + 1):
        marks = sum(event.what == "mark" for event in events[:length])
        for state in itertools.islice(_after(names, contents, events[:length]), MOST_STATES):
            key = (marks, frozenset(state.items()))
            if key not in seen:
                seen.add(key)
                yield marks, state


def settled(names: Mapping[str, int], contents: Mapping[int, bytes], events: Sequence[Event]) -> State:
    """What lies there once everything has reached the disk."""
    files, namings = _replayed(contents, events)
    now = dict(names)
    for naming in namings:
        naming.apply(2, now)
    return _laid_out(now, {number: file.whole() for number, file in files.items()})


def _after(names: Mapping[str, int], contents: Mapping[int, bytes], events: Sequence[Event]) -> Iterator[State]:
    files, namings = _replayed(contents, events)
    for levels in itertools.product(*(naming.levels() for naming in namings)):
        now = dict(names)
        for naming, level in zip(namings, levels, strict=True):
            naming.apply(level, now)
        there = sorted({number for number in now.values() if number})
        for versions in itertools.product(*(files[number].versions() for number in there)):
            yield _laid_out(now, dict(zip(there, versions, strict=True)))


def _replayed(contents: Mapping[int, bytes], events: Sequence[Event]) -> tuple[dict[int, _File], list[_Naming]]:
    files = {number: _File(content) for number, content in contents.items()}
    namings: list[_Naming] = []
    for event in events:
        if event.what in ("make", "link", "move", "remove", "folder"):
            namings.append(_Naming(event))
            if event.what == "make":
                files[event.file] = _File()
        elif event.what in ("write", "cut"):
            files[event.file].steps.append(event)
        elif event.what == "fsync":
            files[event.file] = _File(files[event.file].whole())
        elif event.what == "fsync folder":
            for naming in namings:
                naming.synced(event.path)
    return files, namings


def _laid_out(names: Mapping[str, int], contents: Mapping[int, bytes]) -> State:
    """Names in a folder that is not there are not there either."""
    found: State = {}
    for name, number in sorted(names.items()):
        folder = folder_of(name)
        if folder == "/" or folder in found:
            found[name] = contents[number] if number else b""
    return found


def _stepped(content: bytes, step: Event) -> bytes:
    if step.what == "cut":
        return content[: step.at]
    return content[: step.at].ljust(step.at, b"\0") + step.data + content[step.at + len(step.data) :]


def put(state: State, root: Path) -> None:
    """Lay `state` out below the empty folder `root`."""
    for name, content in sorted(state.items()):
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        else:
            (root / name).write_bytes(content)

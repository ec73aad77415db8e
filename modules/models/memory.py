"""Memory in numbers: the machine's, the server's, and that of the processes the engines run in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `engine` = resident memory of every worker with its children; pages of a mapped model count.

    partial   True when a part could not be read (another user's process, one that just ended): then the
              figures are lower bounds
    """

    total: int
    available: int
    server: int
    engine: int
    partial: bool = False


def read(workers: Iterable[int] = ()) -> Memory:
    """The figures now. Takes some milliseconds (it walks the process table): call it in a thread."""
    partial = False
    engine = 0
    for pid in workers:
        size = tree_bytes(pid)
        partial |= size is None
        engine += size or 0
    try:
        machine = psutil.virtual_memory()
        total, available = int(machine.total), int(machine.available)
    except (psutil.Error, OSError):
        total, available, partial = 0, 0, True
    server = resident_bytes(None)
    return Memory(total, available, server or 0, engine, partial or server is None)


def resident_bytes(pid: int | None) -> int | None:
    """Resident bytes of one process (None = this one); None when it is gone or hidden. Takes microseconds."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return None


def tree_pids(pid: int) -> tuple[int, ...]:
    """The process and all it started, as far as they can be seen."""
    try:
        return (pid, *(child.pid for child in psutil.Process(pid).children(recursive=True)))
    except (psutil.Error, OSError):
        return (pid,)


def private_bytes(pid: int) -> int:
    """Bytes that come free when the process ends: without the pages of mapped files, which are free already."""
    total = 0
    for one in tree_pids(pid):
        try:
            known = psutil.Process(one).memory_info()
        except (psutil.Error, OSError):
            continue
        total += max(0, int(known.rss) - int(getattr(known, "shared", 0)))
    return total


def tree_bytes(pid: int) -> int | None:
    """Resident bytes of a process and all it started; None when the process itself cannot be read."""
    own = resident_bytes(pid)
    if own is None:
        return None
    try:
        children = psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):
        return own
    return own + sum(resident_bytes(child.pid) or 0 for child in children)

"""Signs of life of a worker that says nothing: while a library holds Python's lock, or a reply is slow."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import psutil

from modules.engine.child import Child
from modules.engine.worker_log import WorkerLog

_WORKED = 0.005
"""Seconds of processor time between two looks that count as work."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds.

    start   without any progress while loading, before the load is given up
    stall   without a sign of life while replies run, before the engine counts as hung
    linger  a cancelled request may go on before the engine counts as hung
    patience  how many times longer `start` and `stall` are for an engine that computes without saying anything
    close, terminate   how long each step of a stop may take before the next, harder one
    tick    between two looks
    """

    start: float = 120.0
    stall: float = 30.0
    linger: float = 20.0
    patience: float = 20.0
    close: float = 2.0
    terminate: float = 2.0
    tick: float = 0.5


@dataclass(slots=True)
class Watchdog:
    """Looks at one worker from outside, once a tick.

    fraction    how much of the model is in memory already, 0..0.95; an estimate: resident bytes over file size
    moved       it read, grew or logged since the look before
    computing   it used processor time since the look before
    """

    path: str
    fraction: float = 0.0
    moved: bool = False
    computing: bool = False
    _cpu: float = 0.0
    _seen: tuple[int, int, int] = (0, 0, 0)
    _first_bytes: int = 0

    def look(self, child: Child, log: WorkerLog) -> None:
        """Take the figures; one that cannot be had counts as unchanged."""
        try:
            process = psutil.Process(child.process.pid)
            cpu, resident, read = _figures(process)
            if cpu - self._cpu <= _WORKED:  # it only waits: an engine of its own may run below it
                for below in process.children(recursive=True):
                    with contextlib.suppress(psutil.Error, OSError):  # it has just ended
                        more = _figures(below)
                        cpu, resident, read = cpu + more[0], resident + more[1], read + more[2]
        except (psutil.Error, OSError):
            self.moved = self.computing = False
            return
        seen = (resident >> 20, read >> 20, log.size())
        self.moved, self._seen = seen != self._seen, seen
        self.computing, self._cpu = cpu - self._cpu > _WORKED, cpu
        self._first_bytes = self._first_bytes or resident
        self.fraction = max(self.fraction, min(0.95, (resident - self._first_bytes) / self._file_bytes()))

    def _file_bytes(self) -> int:
        try:
            return max(1, os.path.getsize(self.path)) if os.path.isfile(self.path) else 1 << 62
        except OSError:
            return 1 << 62


def _figures(process: psutil.Process) -> tuple[float, int, int]:
    """Seconds of processor time, resident bytes, bytes read. Raises psutil.Error."""
    times = process.cpu_times()
    read = int(process.io_counters().read_bytes) if hasattr(process, "io_counters") else 0
    return float(times.user + times.system), int(process.memory_info().rss), read

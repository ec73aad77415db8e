"""Stop button of one reply: the pipeline ends the stream with Done("cancelled") and what was generated so far."""

from __future__ import annotations

import asyncio


class StopSignal:
    """Interrupts the await in which the task that reads the stream stands, as asyncio.timeout does: no cost per token.

    `watch` is called in the task that reads the stream, before it waits; whoever catches its CancelledError calls
    `caught`.
    """

    def __init__(self) -> None:
        self.requested = False
        self._task: asyncio.Task[object] | None = None

    def watch(self) -> None:
        """The running task is the one to interrupt."""
        self._task = asyncio.current_task()

    def stop(self) -> None:
        """Ask for the end; further calls do nothing."""
        if self.requested:
            return
        self.requested = True
        if self._task is not None:
            self._task.cancel()

    def caught(self) -> bool:
        """Whether the CancelledError just caught is this signal's alone; the task is then no longer being cancelled."""
        task = self._task if self.requested and asyncio.current_task() is self._task else None
        return task is not None and task.uncancel() == 0

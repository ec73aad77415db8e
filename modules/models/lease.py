"""Waiting for a model while its loading progress is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from modules.drivers.base import Engine
from modules.types import Notice, Progress


@dataclass(frozen=True, slots=True)
class Lease:
    """The use of an engine for the length of one request; `notices` say what was decided on the way."""

    engine: Engine
    notices: tuple[Notice, ...] = ()


class Leases(Protocol):
    """What lends engines; modules.models.pool.ModelPool is one."""

    def lease(
        self, name: str | None, on_progress: Callable[[Progress], None] | None = None, writes: bool = False
    ) -> AbstractAsyncContextManager[Lease]: ...
    def excuse_crash(self, name: str) -> None: ...


class LeaseAcquisition:
    """A lease being taken, with the loading progress as something to iterate over."""

    def __init__(self, models: Leases, name: str | None) -> None:
        self._latest: Progress | None = None
        self._wake = asyncio.Event()
        self._context = models.lease(name, on_progress=self._report, writes=True)
        self._task: asyncio.Task[Lease] | None = None

    @property
    def lease(self) -> Lease:
        """The lease; only after `progress()` has ended."""
        assert self._task is not None
        return self._task.result()

    def _report(self, progress: Progress) -> None:
        self._latest = progress
        self._wake.set()

    async def progress(self) -> AsyncGenerator[Progress, None]:
        """Enter the lease; the latest Progress each time it changes (never a backlog). Raises what entering raises."""
        self._task = asyncio.ensure_future(self._context.__aenter__())
        self._task.add_done_callback(lambda task: self._wake.set())
        while True:
            await self._wake.wait()
            self._wake.clear()
            latest, self._latest = self._latest, None
            if latest is not None:
                yield latest
            if self._task.done() and self._latest is None:
                self._task.result()
                return

    async def leave(self) -> None:
        """Give the lease back, or stop waiting for it. Called once, also when entering never began."""
        task = self._task
        if task is None:
            return
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            await self._context.__aexit__(None, None, None)

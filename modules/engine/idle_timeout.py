"""Ends a wait for a server that sends nothing any more, at no cost per token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class IdleTimeout:
    """Counts the time a request waits for its server. `heard` and `rest` only set a number.

    limit   seconds a wait may last
    expire  called once when one lasted longer; `expired` is true from then on
    """

    __slots__ = ("_expire", "_limit", "_loop", "_since", "_timer", "expired")

    def __init__(self, limit: float, expire: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._expire = expire
        self._since = 0.0
        self.expired = False
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(limit, self._look)
        self.heard()

    def heard(self) -> None:
        """Something arrived, or the wait begins: it counts from now."""
        self._since = self._loop.time()

    def rest(self) -> None:
        """Nothing is waited for: the reader has its turn."""
        self._since = 0.0

    def hurry(self, limit: float) -> None:
        """From now on a wait may last this many seconds at most."""
        if limit < self._limit and self._timer is not None:
            self._timer.cancel()
            self._limit = limit
            self._timer = self._loop.call_later(limit, self._look)

    def end(self) -> None:
        """No more waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        waited = now - self._since if self._since else 0.0
        if waited >= self._limit:
            self.expired = True
            self._timer = None
            self._expire()
        else:
            self._timer = self._loop.call_later(self._limit - waited, self._look)

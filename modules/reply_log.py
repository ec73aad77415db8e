"""The log of one reply: every event in order, so that a page can join or come back at any index.

An event is a small JSON-ready dict: {"t": text, "n": tokens}, {"r": thinking}, {"progress": …}, {"notice": …},
{"ledger": …}, {"done": …}, {"failed": …}. `n` is left out when it is 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

Event = dict[str, Any]


def piece(kind: str, text: str, tokens: int = 1) -> Event:
    """A text ("t") or thinking ("r") event."""
    return {kind: text} if tokens == 1 else {kind: text, "n": tokens}


def merged(events: Sequence[Event], start: int, end: int) -> Iterator[Event]:
    """Events start..end, neighbours of the same kind of text joined.

    A joined event carries "i", the index after it; any other event counts as one.
    """
    n = start
    while n < end:
        kind = _kind(events[n])
        stop = n + 1
        while kind and stop < end and _kind(events[stop]) == kind:
            stop += 1
        if stop == n + 1:
            yield events[n]
        else:
            run = events[n:stop]
            text = "".join(event[kind] for event in run)
            yield {**piece(kind, text, sum(event.get("n", 1) for event in run)), "i": stop}
        n = stop


def _kind(event: Event) -> str:
    return "t" if "t" in event else "r" if "r" in event else ""


class ReplyLog:
    """Appended to by the one task that owns the reply, followed by any number of readers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self._waiting: set[asyncio.Future[None]] = set()

    def append(self, event: Event) -> None:
        """Add an event and wake the readers."""
        self.events.append(event)
        self._wake()

    def close(self) -> None:
        """No more events will come."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def follow(self, start: int = 0) -> AsyncGenerator[Event, None]:
        """Events from index `start` on, as they come; what has piled up comes joined. Ends with the log."""
        n = max(0, start)
        while True:
            end = len(self.events)
            for event in merged(self.events, n, end):
                yield event
            n = max(n, end)
            if n < len(self.events):
                continue
            if self.closed:
                return
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

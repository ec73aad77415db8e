"""The log of one reply: every event in order, so that a page can join or come back at any index.

An event is a small JSON-ready dict: {"t": text, "n": tokens}, {"r": thinking}, {"progress": …}, {"notice": …},
{"ledger": …}, {"done": …}, {"failed": …}. `n` is left out when it is 1. Text is kept in runs that cost some ten
bytes a token, because hundreds of long replies may be kept at once.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator
from typing import Any

Event = dict[str, Any]
_FOLD = 64  # pieces of a run that are joined into one string


def piece(kind: str, text: str, tokens: int = 1) -> Event:
    """A text ("t") or thinking ("r") event."""
    return {kind: text} if tokens == 1 else {kind: text, "n": tokens}


class Run:
    """Neighbouring pieces of the same kind. Any stretch of them can be cut out again."""

    __slots__ = ("_ends", "_folded", "_recent", "_tokens", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._folded: list[str] = []  # _FOLD pieces each
        self._recent: list[str] = []
        self._ends = array("Q")  # characters up to and with each piece
        self._tokens = array("Q")  # tokens up to and with each piece

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, text: str, tokens: int) -> None:
        """One more piece at the end."""
        self._ends.append(len(text) + (self._ends[-1] if self._ends else 0))
        self._tokens.append(tokens + (self._tokens[-1] if self._tokens else 0))
        self._recent.append(text)
        if len(self._recent) == _FOLD:
            self._folded.append("".join(self._recent))
            self._recent.clear()

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The text of pieces start..end, to the last one by default."""
        end = len(self) if end is None else end
        first = start // _FOLD
        if first == len(self._folded):
            return "".join(self._recent[start - first * _FOLD : end - first * _FOLD])
        skipped = self._ends[first * _FOLD - 1] if first else 0
        before = self._ends[start - 1] if start else 0
        whole = "".join(self._folded[first:]) + "".join(self._recent)
        return whole[before - skipped : self._ends[end - 1] - skipped] if end > start else ""

    def event(self, start: int, end: int) -> Event:
        """Pieces start..end as one event."""
        tokens = self._tokens[end - 1] - (self._tokens[start - 1] if start else 0)
        return piece(self.kind, self.text(start, end), tokens)


class ReplyLog:
    """Appended to by the one task that owns the reply, followed by any number of readers."""

    def __init__(self) -> None:
        self.closed = False
        self._parts: list[Run | Event] = []
        self._starts: list[int] = []  # index of the first event of each part
        self._length = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return self._length

    def append(self, event: Event) -> None:
        """Add an event that is not text, and wake the readers."""
        self._parts.append(event)
        self._starts.append(self._length)
        self._length += 1
        self._wake()

    def grow(self, kind: str, text: str, tokens: int = 1) -> None:
        """Add a piece of text ("t") or thinking ("r"), and wake the readers."""
        last = self._parts[-1] if self._parts else None
        if not isinstance(last, Run) or last.kind != kind:
            last = Run(kind)
            self._parts.append(last)
            self._starts.append(self._length)
        last.add(text, tokens)
        self._length += 1
        self._wake()

    def text(self, kind: str) -> str:
        """All text of one kind so far."""
        return "".join(part.text() for part in self._parts if isinstance(part, Run) and part.kind == kind)

    def events(self, start: int, end: int) -> Iterator[Event]:
        """Events start..end, neighbours of the same kind of text joined.

        A joined event carries "i", the index after it; any other event counts as one.
        """
        n = start
        while n < end:
            at = bisect_right(self._starts, n) - 1
            part, first = self._parts[at], self._starts[at]
            if not isinstance(part, Run):
                yield part
                n += 1
                continue
            stop = min(end, first + len(part))
            event = part.event(n - first, stop - first)
            yield event if stop == n + 1 else {**event, "i": stop}
            n = stop

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
            end = self._length
            for event in self.events(n, end):
                yield event
            n = max(n, end)
            if n < self._length:
                continue
            if self.closed:
                return
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

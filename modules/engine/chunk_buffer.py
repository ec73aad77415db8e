"""What waits for the reader of a reply. It stays small, however far the reader falls behind."""

from __future__ import annotations

import asyncio
from collections import deque

from modules.errors import EngineError
from modules.types import Chunk, Done, Failed, Progress, Text

MOST_JOINED = 1024
"""Pieces of text that become one; what comes behind them is a chunk of its own."""
MOST_WAITING = 100_000
"""Chunks and candidates of log probabilities that may wait: these cannot be joined, and take some 300 bytes each."""


class ChunkBuffer:
    """Chunks in their order: neighbouring pieces of text become one, of steps of progress the latest is kept.

    Text alone has no limit, as it takes little more than its letters. Of what cannot be joined MOST_WAITING may
    wait; then `put` gives False once, and the reader gets what is there and a Failed with the reason.
    """

    __slots__ = ("_full", "_ready", "_texts", "_waiter", "_weight")

    def __init__(self) -> None:
        self._ready: deque[Chunk] = deque()
        self._texts: list[Text] = []
        self._waiter: asyncio.Future[None] | None = None
        self._weight = 0
        self._full = False

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._ready or self._texts)

    def put(self, chunk: Chunk) -> bool:
        """Add one. False when it is one too many: the engine is to stop. What comes after that is not kept."""
        if self._full:
            return True
        if type(chunk) is Text:
            if len(self._texts) >= MOST_JOINED:
                self._close()
            self._texts.append(chunk)
        elif isinstance(chunk, Progress) and not self._texts and self._replaces(chunk):
            self._ready[-1] = chunk
            return True
        else:
            self._close()
            self._ready.append(chunk)
        self._weight += _weight(chunk)
        if self._weight > MOST_WAITING and not isinstance(chunk, (Done, Failed)):
            self._full = True
            self._close()
            self._ready.append(Failed(_too_slow().as_dict()))
        self._wake()
        return not self._full

    async def take(self) -> Chunk:
        """The next one, when there is one. For one reader."""
        while not self:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self._ready:
            self._close()
        chunk = self._ready.popleft()
        self._weight -= _weight(chunk)
        return chunk

    def _replaces(self, step: Progress) -> bool:
        """Whether the last that waits is a step of the same work."""
        last = self._ready[-1] if self._ready else None
        return isinstance(last, Progress) and last.stage == step.stage

    def _close(self) -> None:
        """The pieces of text become one chunk."""
        if len(self._texts) == 1:
            self._ready.append(self._texts[0])
        elif self._texts:
            self._ready.append(Text(
                "".join(piece.text for piece in self._texts), sum(piece.tokens for piece in self._texts),
                tuple(mark for piece in self._texts for mark in piece.logprobs),
            ))  # fmt: skip
        self._texts.clear()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _weight(chunk: Chunk) -> int:
    """What a chunk counts; text without log probabilities counts nothing, as it is joined."""
    if type(chunk) is not Text:
        return 1
    return sum(1 + len(mark.top) for mark in chunk.logprobs) if chunk.logprobs else 0


def _too_slow() -> EngineError:
    return EngineError(
        "The reply was stopped because it was not read.",
        hint="Read it faster, or ask for fewer log probabilities.",
        code="reader_too_slow",
    )

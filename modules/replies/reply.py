"""One reply while it is written: what came so far, when, and how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from typing import Any

from modules.chats.values import MessageNode
from modules.errors import EngineError, EnginehouseError
from modules.replies.log import ReplyLog, piece
from modules.types import Chunk, Done, Failed, Ledger, Notice, Progress, Reasoning, Stats, Text

_log = logging.getLogger("enginehouse.replies")


def stats_dict(stats: Stats) -> dict[str, Any]:
    """The figures as JSON-ready values, the speed included."""
    return {**asdict(stats), "tokens_per_second": round(stats.tokens_per_second, 2)}


class Reply:
    """State of one reply. Only its owner in `Replies` changes it, all in the event loop.

    size       grows with every piece; tells the saver whether there is something new
    ended      the outcome is known and the log is closed
    saved      the store has the outcome
    """

    def __init__(self, chat: str, node: MessageNode) -> None:
        self.chat = chat
        self.message = node.id
        self.rev = node.rev
        self.log = ReplyLog()
        self.writer: asyncio.Task[None] | None = None
        self.stop_asked = self.ended = self.saved = self.trouble_told = False
        self.ending = asyncio.Event()
        self.finished = asyncio.Event()
        self.state = "running"
        self.size = 0
        self._notices: list[dict[str, Any]] = []
        self._ledger: Ledger | None = None
        self._done: Done | None = None
        self._error: Mapping[str, Any] | None = None
        self._tokens = self._reasoning_tokens = 0
        self._started = time.monotonic()
        self._first = self._last = 0.0
        # A continued reply begins with the text it continues: a page that reads from 0 gets all of it.
        for kind, text in (("r", node.reasoning), ("t", node.text)):
            if text:
                self.log.grow(kind, text, 0)

    @property
    def text(self) -> str:
        """The answer so far."""
        return self.log.text("t")

    @property
    def reasoning(self) -> str:
        """The thinking so far."""
        return self.log.text("r")

    def stop(self) -> None:
        """Ask the writer to end; what it drains is cancelled with it."""
        self.stop_asked = True
        if self.writer is not None:
            self.writer.cancel()

    def take(self, chunk: Chunk) -> None:
        """Put one chunk of the pipeline into the log."""
        match chunk:
            case Text():
                self._tokens += chunk.tokens
                self._grow("t", chunk.text, chunk.tokens)
            case Reasoning():
                self._reasoning_tokens += chunk.tokens
                self._grow("r", chunk.text, chunk.tokens)
            case Progress():
                self.log.append({"progress": asdict(chunk)})
            case Notice():
                self._notices.append(asdict(chunk))
                self.log.append({"notice": self._notices[-1]})
            case Ledger():
                self._ledger = chunk
                self.log.append({"ledger": asdict(chunk)})
            case Done():
                self._done = chunk
            case Failed():
                self._error = dict(chunk.error)
            case Stats():
                return

    def _grow(self, kind: str, text: str, tokens: int) -> None:
        self._last = time.monotonic()
        self._first = self._first or self._last
        self.size += 1
        self.log.grow(kind, text, tokens)

    def settle(self) -> None:
        """The writer has ended: work out how."""
        assert self.writer is not None
        fault = None if self.writer.cancelled() else self.writer.exception()
        if fault is not None:
            _log.error("reply %s failed", self.message, exc_info=fault)
            known = fault if isinstance(fault, EnginehouseError) else None
            self._error = (known or EngineError("The reply failed inside the server.", hint="See the log.")).as_dict()
        if self._error is not None:
            self.state = "failed"
        elif self._done is None or self._done.reason == "cancelled":
            self.state = "stopped"
        else:
            self.state = "done"

    @property
    def _stats(self) -> Stats:
        """The engine's figures, or our own where it was cut off before it could give them."""
        if self._done is not None and self._done.stats != Stats():
            return self._done.stats
        return Stats(
            prompt_tokens=self._ledger.prompt_tokens if self._ledger else 0,
            completion_tokens=self._tokens + self._reasoning_tokens,
            reasoning_tokens=self._reasoning_tokens,
            first_token_ms=round((self._first - self._started) * 1000, 1) if self._first else 0.0,
            completion_ms=round((self._last - self._first) * 1000, 1) if self._first else 0.0,
            context_limit=self._ledger.limit if self._ledger else 0,
        )

    @property
    def _reason(self) -> str | None:
        if self.state == "failed":
            return None
        return "cancelled" if self._done is None else self._done.reason

    def outcome(self) -> dict[str, Any]:
        """What the store is told at the end."""
        return {
            "text": self.text,
            "reasoning": self.reasoning,
            "state": self.state,
            "stats": stats_dict(self._stats),
            "notices": tuple(self._notices),
            "ledger": None if self._ledger is None else asdict(self._ledger),
            "error": self._error,
            "finish_reason": self._reason,
        }

    def end(self) -> None:
        """Tell the followers and close the log."""
        if self._error is not None:
            self.log.append(failed_event(self._error, self.rev))
        else:
            stop = self._done.stop if self._done else None
            done = {"reason": self._reason, "stop": stop, "stats": stats_dict(self._stats), "rev": self.rev}
            self.log.append({"done": done})
        self.ended = True
        self.log.close()
        self.finished.set()


def failed_event(error: Mapping[str, Any], rev: int) -> dict[str, Any]:
    """The last event of a reply that failed; with what to try instead, where its model did not fit."""
    offer = {"fallback": error["fallback"]} if error.get("fallback") else {}
    return {"failed": {**{key: error.get(key, "") for key in ("message", "hint", "code")}, **offer, "rev": rev}}


async def replayed(node: MessageNode, rev: int, start: int) -> AsyncGenerator[dict[str, Any], None]:
    """A finished reply told from the store: its whole text, then its end.

    A page that had come to another index is told to start over, because those events are gone.
    """
    if start > 0:
        yield {"reset": True}
    if node.reasoning:
        yield piece("r", node.reasoning, 0)
    if node.text:
        yield piece("t", node.text, 0)
    for notice in node.notices:
        yield {"notice": notice}
    if node.ledger:
        yield {"ledger": node.ledger}
    if node.error:
        yield failed_event(node.error, rev)
    elif node.state == "interrupted":
        yield failed_event(INTERRUPTED, rev)
    else:
        yield {"done": {"reason": node.finish_reason, "stop": None, "stats": node.stats or {}, "rev": rev}}


INTERRUPTED = {
    "message": "The server ended while this reply was written.",
    "hint": "Continue it, or ask for a new version.",
    "code": "interrupted",
}

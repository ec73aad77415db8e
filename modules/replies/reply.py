"""One reply while it is generated: its log, and how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from modules.errors import EngineError, EnginehouseError
from modules.generation.stop_signal import StopSignal
from modules.messages.tool_calls import ToolCallAssembler
from modules.replies.log import ReplyLog
from modules.replies.sink import Begun, EndState, Outcome, ReplySink
from modules.types import Chunk, Done, Failed, Ledger, Notice, Progress, Reasoning, Stats, Text, ToolCall

_log = logging.getLogger("enginehouse.replies")


def stats_dict(stats: Stats) -> dict[str, Any]:
    """The figures as JSON-ready values, the speed included."""
    return {**asdict(stats), "tokens_per_second": round(stats.tokens_per_second, 2)}


class Reply:
    """State of one reply. Only its owner in `Replies` changes it, all in the event loop.

    size       grows with every piece; tells the saver whether there is something new
    ended      the outcome is known and the log is closed
    saved      the sink has the outcome
    """

    def __init__(self, sink: ReplySink, begun: Begun) -> None:
        self.sink = sink
        self.id = begun.id
        self.rev = begun.rev
        self.log = ReplyLog()
        self.stop_signal = StopSignal()
        self.writer: asyncio.Task[None] | None = None
        self.ended = self.saved = self.trouble_told = False
        self.ending = asyncio.Event()
        self.finished = asyncio.Event()
        self.state: EndState | Literal["running"] = "running"
        self.size = 0
        self._notices: list[Notice] = []
        self._ledger: Ledger | None = None
        self._calls = ToolCallAssembler()
        self._done: Done | None = None
        self._failed: Failed | None = None
        # A continued reply begins with the text it continues: a page that reads from 0 gets all of it.
        for kind, text in (("r", begun.reasoning), ("t", begun.text)):
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

    def take(self, chunk: Chunk) -> None:
        """Put one chunk of the pipeline into the log."""
        match chunk:
            case Text():
                self._grow("t", chunk.text, chunk.tokens)
            case Reasoning():
                self._grow("r", chunk.text, chunk.tokens)
            case ToolCall():
                self.size += 1
                self._calls.add(chunk)
                self.log.append({"tool_call": asdict(chunk)})
            case Progress():
                self.log.append({"progress": asdict(chunk)})
            case Notice():
                self._notices.append(chunk)
                self.log.append({"notice": asdict(chunk)})
            case Ledger():
                self._ledger = chunk
                self.log.append({"ledger": asdict(chunk)})
            case Done():
                self._done = chunk
            case Failed():
                self._failed = chunk
            case Stats():
                return

    def _grow(self, kind: str, text: str, tokens: int) -> None:
        self.size += 1
        self.log.grow(kind, text, tokens)

    def settle(self) -> None:
        """The writer has ended: work out how."""
        assert self.writer is not None
        fault = None if self.writer.cancelled() else self.writer.exception()
        if fault is not None:
            _log.error("reply %s failed", self.id, exc_info=fault)
            known = fault if isinstance(fault, EnginehouseError) else None
            error = known or EngineError("The reply failed inside the server.", hint="See the log.")
            self._failed = Failed(error.as_dict())
        elif self._done is None and self._failed is None:
            self._done = Done("cancelled")
        if self._failed is not None:
            self.state = "failed"
        else:
            self.state = "stopped" if self._end.reason == "cancelled" else "done"

    @property
    def _end(self) -> Done:
        return self._done or Done("cancelled")

    def outcome(self) -> Outcome:
        """What the sink is told at the end."""
        assert self.state != "running"
        failed = self._failed
        return Outcome(
            text=self.text,
            reasoning=self.reasoning,
            state=self.state,
            stats=self._end.stats if failed is None else failed.stats,
            notices=tuple(self._notices),
            ledger=self._ledger,
            error=None if failed is None else failed.error,
            finish_reason=self._end.reason if failed is None else None,
            tool_calls=self._calls.calls,
        )

    def end(self) -> None:
        """Tell the followers and close the log."""
        if self._failed is not None:
            self.log.append(failed_event(self._failed.error, self.rev))
        else:
            end = self._end
            done = {"reason": end.reason, "stop": end.stop, "stats": stats_dict(end.stats), "rev": self.rev}
            self.log.append({"done": done})
        self.ended = True
        self.log.close()
        self.finished.set()


def failed_event(error: Mapping[str, Any], rev: int) -> dict[str, Any]:
    """The last event of a reply that failed; with its figures, and what to try instead."""
    more = {key: error[key] for key in ("fallback", "figures", "offers") if error.get(key)}
    return {"failed": {**{key: error.get(key, "") for key in ("message", "hint", "code")}, **more, "rev": rev}}

"""Replies written to a sink that is no chat: a notebook, whose text each reply goes on with."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

import pytest

from modules.errors import EngineError, StorageError
from modules.events import Events
from modules.generation.stop_signal import StopSignal
from modules.messages.parts import FunctionCall
from modules.replies.reply import stats_dict
from modules.replies.running import Replies
from modules.replies.sink import Begun, Outcome
from modules.types import Chunk, Done, Failed, Ledger, Notice, Reasoning, Stats, Text, ToolCall

pytestmark = pytest.mark.anyio


class Notebook:
    """A page of text in memory."""

    def __init__(self, text: str = "", closed: bool = False) -> None:
        self.text = text
        self.closed = closed
        self.states: list[tuple[str, int]] = []
        self.outcome: Outcome | None = None

    @property
    def group(self) -> str:
        return "notebook"

    def begin(self) -> Begun:
        if self.closed:
            raise StorageError("The notebook cannot be written.")
        return Begun("page-1", self.text, rev=4)

    def partial(self, text: str, reasoning: str) -> None:
        self.text = text

    def finish(self, outcome: Outcome) -> int:
        self.text, self.outcome = outcome.text, outcome
        return 5

    def changed(self, state: str, rev: int) -> None:
        self.states.append((state, rev))


async def written(sink: Notebook, *chunks: Chunk | float) -> list[dict[str, object]]:
    """The events of a reply that consists of these chunks; a number is a pause in seconds."""

    async def source(stop: StopSignal) -> AsyncGenerator[Chunk, None]:
        for chunk in chunks:
            if isinstance(chunk, (int, float)):
                await asyncio.sleep(chunk)
            else:
                yield chunk

    replies = Replies(Events())
    reply = await replies.start(sink, source)
    assert replies.written == (("notebook", "page-1"),)
    assert replies.find("page-1") is reply
    if chunks[-1] == 3600:
        await replies.stop_group("notebook")
    return [event async for event in reply.log.follow()]


async def test_a_notebook_gets_the_text_and_the_figures() -> None:
    sink = Notebook("Once ")
    stats, ledger, notice = Stats(3, 0, 2), Ledger(100, 3, 10, 0, 0), Notice("model_loaded", "It was loaded.")
    events = await written(sink, notice, ledger, Reasoning("hm"), Text("upon "), Text("a time"), Done("length", stats))
    assert sink.outcome == Outcome("Once upon a time", "hm", "done", stats, (notice,), ledger, None, "length")
    assert sink.states == [("running", 4), ("done", 5)]
    assert "".join(str(event.get("t", "")) for event in events) == "Once upon a time"
    assert events[-1]["done"] == {"reason": "length", "stop": None, "stats": stats_dict(stats), "rev": 5}


async def test_a_failure_and_its_figures_reach_the_sink() -> None:
    sink, error = Notebook(), EngineError("It is gone.").as_dict()
    await written(sink, Text("half"), Failed(error, Stats(3, 0, 1)))
    assert sink.outcome == Outcome("half", "", "failed", Stats(3, 0, 1), error=error)


async def test_a_stream_that_cannot_say_so_itself_is_stopped_too() -> None:
    sink = Notebook()
    await written(sink, 3600)
    assert sink.outcome == Outcome("", "", "stopped", Stats(), finish_reason="cancelled")


async def test_a_sink_that_refuses_the_beginning_starts_nothing() -> None:
    replies, asked = Replies(Events()), []
    with pytest.raises(StorageError):
        await replies.start(Notebook(closed=True), asked.append)
    assert (replies.running, asked) == (0, [])


async def test_the_calls_of_a_reply_are_put_together_and_told() -> None:
    sink = Notebook("")
    pieces = (ToolCall(0, "c1", "weather", ""), ToolCall(0, arguments="{}"))
    events = await written(sink, *pieces, Done("tool_calls", Stats(3, 0, 2)))
    assert sink.outcome is not None
    assert sink.outcome.tool_calls == (FunctionCall("c1", "weather", "{}"),)
    assert sink.outcome.finish_reason == "tool_calls"
    told = [event["tool_call"] for event in events if "tool_call" in event]
    assert told == [dataclasses.asdict(piece) for piece in pieces]

"""Stop: the stream ends with Done("cancelled") and the figures so far, whatever the reply is waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from modules.generation.pipeline import Generation
from modules.generation.stop_signal import StopSignal
from modules.types import Chunk, Done, Failed, GenerationRequest, Message, Notice, Progress, Reasoning, Stats, Text
from tests.engine_stand_in import Lender, StandIn

pytestmark = pytest.mark.anyio
ASK = GenerationRequest("r", messages=(Message("user", "hello"),), stop=("##",), params={"seed": 7})
HOUR = 3600


async def stopped_at(generation: Generation, last: Chunk | None) -> list[Chunk]:
    """The chunks of a reply that is stopped once `last` has come and it waits for more; None = before its start."""
    stop, seen = StopSignal(), list[Chunk]()

    async def read() -> None:
        async for chunk in generation.stream(ASK, stop):
            seen.append(chunk)
            if chunk == last:
                asyncio.get_running_loop().call_soon(stop.stop)

    if last is None:
        stop.stop()
    async with asyncio.timeout(20):
        await asyncio.create_task(read())
    return seen


async def test_a_stop_between_tokens_ends_the_engine_and_gives_text_and_figures() -> None:
    engine = StandIn([Progress("prompt", 11, 11, 4), Reasoning("hm", 2), Text("one "), Text("two#", 3), HOUR])
    lender = Lender(engine)
    *seen, done = await stopped_at(Generation(lender), Text("two", 3))
    assert seen[-1] == Text("#", 0)  # held back, for it could have begun a stop string
    assert isinstance(done, Done)
    assert (done.reason, engine.running, engine.cancelled, lender.out) == ("cancelled", 0, 1, 0)
    stats = done.stats
    assert (stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens, stats.reasoning_tokens) == (11, 4, 6, 2)
    assert (stats.seed, stats.context_limit) == (7, 4096)
    assert stats.first_token_ms > 0


async def test_a_stop_before_the_first_token_has_the_prompt_of_the_ledger_and_no_time() -> None:
    engine = StandIn([Progress("queued", 0, 1), HOUR])
    *_, done = await stopped_at(Generation(Lender(engine)), Progress("queued", 0, 1))
    assert isinstance(done, Done)
    assert (done.reason, done.stats.completion_tokens, done.stats.first_token_ms) == ("cancelled", 0, 0)
    assert done.stats.prompt_tokens >= len("user: hello")


async def test_a_stop_while_the_model_loads_gives_the_lease_back() -> None:
    lender = Lender(StandIn(), progress=(Progress("loading", 1, 100),), wait=HOUR)
    seen = await stopped_at(Generation(lender), Progress("loading", 1, 100))
    assert [type(chunk) for chunk in seen] == [Progress, Done]
    assert (lender.out, lender.lent) == (0, 0)


async def test_a_stop_before_the_start_asks_no_model() -> None:
    lender = Lender(StandIn())
    (done,) = await stopped_at(Generation(lender), None)
    assert isinstance(done, Done)
    assert (done.reason, lender.names) == ("cancelled", [])


class Slow:
    """Hooks whose wrapper waits after each chunk, and keeps what it saw."""

    def __init__(self) -> None:
        self.saw: list[Chunk] = []

    async def edit_request(self, request: GenerationRequest) -> tuple[GenerationRequest, tuple[Notice, ...]]:
        return request, ()

    async def wrap_stream(
        self, request: GenerationRequest, chunks: AsyncGenerator[Chunk, None]
    ) -> AsyncGenerator[Chunk, None]:
        async with aclosing(chunks):
            async for chunk in chunks:
                self.saw.append(chunk)
                yield chunk
                if chunk == Text("held"):
                    await asyncio.sleep(HOUR)


@pytest.mark.parametrize(("text", "sees_the_end"), [("one", True), ("held", False)])
async def test_a_stop_reaches_the_end_through_extensions_and_past_one_that_waits(text: str, sees_the_end: bool) -> None:
    hooks, engine = Slow(), StandIn([Text(text), HOUR])
    *_, done = await stopped_at(Generation(Lender(engine), hooks), Text(text))
    assert isinstance(done, Done)
    assert (done.reason, done.stats.completion_tokens, engine.running) == ("cancelled", 1, 0)
    assert (done in hooks.saw) == sees_the_end


async def test_a_stop_after_the_end_and_a_task_that_is_cancelled_otherwise_are_none() -> None:
    stop = StopSignal()
    chunks = [chunk async for chunk in Generation(Lender(StandIn())).stream(ASK, stop)]
    stop.stop()
    assert [chunk for chunk in chunks if isinstance(chunk, Done)] == chunks[-1:]
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()

    async def read(stop: StopSignal | None = None) -> None:
        async for chunk in Generation(Lender(StandIn([Text("a"), HOUR]))).stream(ASK, stop):
            if isinstance(chunk, Text):
                begun.set()

    begun = asyncio.Event()
    reading = asyncio.create_task(read(StopSignal()))
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_reply_that_fails_says_what_there_was() -> None:
    error = {"message": "It is gone.", "code": "engine_crashed", "status": 500}
    engine: Any = StandIn([Text("a"), Text("b"), Failed(error)])
    *_, failed = [chunk async for chunk in Generation(Lender(engine)).stream(ASK)]
    assert isinstance(failed, Failed)
    assert (failed.error, failed.stats.completion_tokens) == (error, 2)
    assert failed.stats != Stats()

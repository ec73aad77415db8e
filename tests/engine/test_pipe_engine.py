"""Replies over a worker's pipes whose reader is slower than the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modules.engine.pipe_engine import MOST_JOINED
from modules.types import Chunk, Text
from tests.engine.making import ask, collect, done_of, failed_of, running, text_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_a_long_backlog_is_read_in_parts_between_which_others_have_their_turn(tmp_path: Path) -> None:
    count = 5 * MOST_JOINED
    async with running(tmp_path, tokens=count, context=10 * count) as (engine, process):
        whole = text_of(await collect(engine, ask(params={"seed": 1})))
        stream = engine.generate(ask(params={"seed": 1}))
        pieces: list[Chunk] = [await anext(stream)]
        await until(lambda: process.running == 0, 40)  # all of it waits for the reader now

        async def read() -> None:
            pieces.extend([chunk async for chunk in stream])

        reading = asyncio.create_task(read())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not reading.done(), "nobody else had a turn before all of it was read"
        await reading
    assert done_of(pieces).stats.completion_tokens == count
    assert sum(piece.tokens for piece in pieces if isinstance(piece, Text)) == count
    assert len(pieces) < 20, "neighbours are joined"
    assert text_of(pieces) == whole


async def test_what_cannot_cross_to_the_worker_is_the_callers_fault_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as (engine, process):
        for more in ({"grammar": 'root ::= "\ud800"'}, {"negative_prompt": "\ud800"}):
            error = failed_of(await collect(engine, ask("hello", **more))).error
            assert error["status"] == 400
        assert process.running == 0
        done_of(await collect(engine, ask("hello")))

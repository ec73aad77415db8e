"""Over a worker's pipes: readers that are slower than the engine, and requests nobody waits for any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modules.engine import chunk_buffer
from modules.engine.chunk_buffer import MOST_JOINED
from modules.types import Chunk, Message, Text
from tests.engine.asking import embed
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


async def test_a_reply_whose_log_probabilities_nobody_reads_is_stopped_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk_buffer, "MOST_WAITING", 2000)
    async with running(tmp_path, tokens=200_000, context=1_000_000, speed=50_000) as (engine, process):
        stream = engine.generate(ask(logprobs=20))
        pieces: list[Chunk] = [await anext(stream)]
        await until(lambda: process.running == 0, 40)  # the engine was told to stop, and did
        pieces += [chunk async for chunk in stream]
        assert failed_of(pieces).error["code"] == "reader_too_slow"
        assert 50 < sum(piece.tokens for piece in pieces if isinstance(piece, Text)) < 2000
        assert process.alive


async def test_texts_nobody_wants_vectors_of_any_more_end_in_the_worker_and_never_hold_up_a_chat(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, embeddings=8, speed=0.5) as (engine, process):
        many = [asyncio.create_task(embed(engine, ["word and word"] * 500)) for _ in range(6)]  # two of them wait
        await until(lambda: len(process._handlers) == 6)
        rendered = await asyncio.wait_for(engine.render((Message("user", "hello"),), {}), 30)
        assert "hello" in rendered.text
        assert len(await asyncio.wait_for(engine.tokenize("abc"), 30)) == 1
        assert not any(task.done() for task in many)
        for task in many:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*many, return_exceptions=True)
        )
        await until(lambda: not process._handlers, 15)  # each was said to have ended; all of it would take hours
        assert len((await embed(engine, ["word"])).vectors) == 1
        assert process.alive

"""When an engine behind HTTP counts as hung: its silence counts only while a request waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loaders.llama_cpp import SPEC
from modules.drivers.llama_server import WAITING_IN_ENGINE, LlamaServerEngine
from modules.engine.process import WorkerProcess
from modules.types import Done, Endpoint, EngineInfo, Text
from tests.drivers.test_http_client import STREAM, Answer, chunk, served, token
from tests.engine.making import HASTY, ask, collect, running, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]


@asynccontextmanager
async def watched(folder: Path, answer: Answer) -> AsyncIterator[tuple[LlamaServerEngine, WorkerProcess]]:
    """The driver on a server of ours, beside a real worker that is watched as the host of it."""
    async with served(answer) as (_, client), running(folder, limits=HASTY) as (_, process):
        info = EngineInfo("m", "llama.cpp", 64)
        there = Endpoint(f"http://127.0.0.1:{client.port}", "", "llama-server")
        engine = LlamaServerEngine(there, info, SPEC, process)
        yield engine, process
        await engine.close()


async def test_a_client_that_stops_reading_does_not_get_the_engine_killed(tmp_path: Path) -> None:
    async def some(request: bytes, writer: asyncio.StreamWriter) -> None:
        for count in range(1, 4):
            writer.write((STREAM if count == 1 else b"") + chunk(token("a", count)))
            await asyncio.sleep(0.02)
        end = b'data: {"content":"","tokens_predicted":3,"tokens_evaluated":1,"stop":true,"stop_type":"eos"}\n\n'
        writer.write(chunk(end) + b"0\r\n\r\n")

    async with watched(tmp_path, some) as (engine, process):
        stream = engine.generate(ask())
        assert isinstance(await anext(stream), Text)
        await asyncio.sleep(HASTY.stall * (HASTY.patience + 1))
        assert process.state == "busy"
        assert isinstance([one async for one in stream][-1], Done), "the reader comes back and finds the rest"
        await until(lambda: process.state == "ready")
        assert (process.running, process._paused) == (0, 0)


async def test_requests_that_wait_for_room_behind_readers_that_do_not_read_do_not_make_a_hang(tmp_path: Path) -> None:
    async def one_piece(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(token("a", 1)))

    async with watched(tmp_path, one_piece) as (engine, process):
        held = [engine.generate(ask()) for _ in range(1 + WAITING_IN_ENGINE)]
        for stream in held:
            await anext(stream)
        waiting = asyncio.create_task(collect(engine, ask()))
        await asyncio.sleep(HASTY.stall * (HASTY.patience + 1))
        assert process.alive
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for stream in held:
            await stream.aclose()
        assert (process.running, process._paused) == (0, 0)


async def test_a_hang_is_noticed_beside_a_client_that_does_not_read_and_behind_comments(tmp_path: Path) -> None:
    async def pings(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(token("a", 1)))
        while not writer.is_closing():
            writer.write(chunk(b": ping\n\n"))
            await asyncio.sleep(0.05)

    async with watched(tmp_path, pings) as (engine, process):
        paused = engine.generate(ask())
        await anext(paused)
        waiting = asyncio.create_task(collect(engine, ask()))
        error = await process.ended(20)
        assert error is not None, "the hang was not noticed"
        assert error.code == "engine_hung"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await paused.aclose()

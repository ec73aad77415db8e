"""What the driver says about slots to a llama-server that is ours, and to one that is not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from loaders.llama_cpp import SPEC
from modules.drivers.llama_server import LlamaServerEngine
from modules.types import Done, Endpoint, EngineInfo, Text
from tests.drivers.test_http_client import OK, STREAM, Server, chunk, served, token
from tests.engine.making import ask, collect, done_of, failed_of, running

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]
DETAILS = {"prompt_cache_mib": 1024}
SLOT = 2


async def answers(request: bytes, writer: asyncio.StreamWriter) -> None:
    """A llama-server with three slots that puts everything into the last one, and refuses prompts of "bad"."""
    if request.startswith(b"GET /slots"):
        seed = getattr(answers, "seed", 0)
        body = orjson.dumps([{"id": n, "params": {"seed": seed if n == SLOT else 0}} for n in range(3)])
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return
    body = json.loads(request.split(b"\r\n\r\n", 1)[1])
    if request.startswith(b"POST /slots/"):
        answer = b'{"n_restored": 3}'
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)
        return
    answers.seed = body["seed"]  # type: ignore[attr-defined]
    if body["prompt"] == "bad":
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}")
        return
    writer.write(STREAM + chunk(token("a", 1)))
    await asyncio.sleep(0.05)  # long enough for /slots to be asked
    end = b'data: {"content":"","tokens_predicted":1,"tokens_evaluated":1,"stop":true,"stop_type":"eos"}\n\n'
    writer.write(chunk(end) + b"0\r\n\r\n")


def asked(server: Server) -> list[Any]:
    """The slots asked for, in order; None where none was."""
    bodies = [
        request.split(b"\r\n\r\n", 1)[1] for request in server.requests if request.startswith(b"POST /completion")
    ]
    return [json.loads(body).get("id_slot") for body in bodies]


def engine_at(port: int, process: Any, states: str = "") -> LlamaServerEngine:
    info = EngineInfo("m", "llama.cpp", 64, slots=3, details=DETAILS)
    endpoint = Endpoint(f"http://127.0.0.1:{port}", "", "llama-server", slot_dir=states)
    return LlamaServerEngine(endpoint, info, SPEC, process)


async def test_a_second_turn_asks_for_the_slot_the_server_had_chosen(tmp_path: Path) -> None:
    async with served(answers) as (server, client), running(tmp_path) as (_, process):
        engine = engine_at(client.port, process)
        done_of(await collect(engine, ask("A story.")))
        done_of(await collect(engine, ask("A story.a And then?")))
        done_of(await collect(engine, ask((1, 2), prompt_text="A story.a And then?a More?")))
        assert asked(server) == [None, SLOT, SLOT]
        assert sum(request.startswith(b"GET /slots") for request in server.requests) == 1
        await engine.close()


async def test_what_was_read_back_from_disk_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(answers) as (server, client), running(tmp_path) as (_, process):
        folder = tmp_path / "slots" / "form"
        folder.mkdir(parents=True)
        (folder / "a-tale.slot").write_bytes(b"state")
        engine, waits = engine_at(client.port, process, str(folder)), []
        done_of(await collect(engine, ask("A story.")))
        usual = engine._ask

        async def noted(path: str, body: Any, timeout: float = 60.0) -> Any:
            waits.append(timeout)
            return await usual(path, body, timeout)

        monkeypatch.setattr(engine, "_ask", noted)
        assert await engine.restore_slot("a-tale", "Once there was a miller.") == 3
        assert waits == [3600.0], "gigabytes take longer than a question"
        (restored,) = [request for request in server.requests if request.startswith(b"POST /slots/")]
        assert b"action=restore" in restored
        assert b'"a-tale.slot"' in restored
        slot = int(restored.split(b"/slots/")[1][:1])
        assert slot != SLOT, "which holds something"
        done_of(await collect(engine, ask("Once there was a miller. And?")))
        assert asked(server) == [None, slot]
        await engine.close()


async def test_a_cancelled_and_a_refused_request_leave_a_picture_that_is_right(tmp_path: Path) -> None:
    async with served(answers) as (server, client), running(tmp_path) as (_, process):
        engine = engine_at(client.port, process)
        stream = engine.generate(ask("A story. " * 200))
        async for piece in stream:
            if isinstance(piece, Text):
                await asyncio.sleep(0.02)
                break
        await stream.aclose()
        done_of(await collect(engine, ask("A story. " * 200)))
        failed_of(await collect(engine, ask("bad")))
        assert isinstance((await collect(engine, ask("A story. " * 200)))[-1], Done)
        assert asked(server) == [None, SLOT, None, None], "after a refusal it is not known what the slots hold"
        await engine.close()


async def test_a_server_that_others_use_too_is_left_to_choose() -> None:
    async with served(answers) as (server, client):
        engine = engine_at(client.port, None)
        for _ in range(2):
            done_of(await collect(engine, ask("A story.")))
        assert asked(server) == [None, None]
        assert len(server.requests) == 2, "nor is it asked about its slots"
        await engine.close()


async def test_a_server_that_does_not_tell_its_slots_is_used_without(tmp_path: Path) -> None:
    async def silent(request: bytes, writer: asyncio.StreamWriter) -> None:
        if request.startswith(b"GET /slots"):
            writer.write(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 2\r\n\r\n{}")
        else:
            await answers(request, writer)

    async with served(silent) as (server, client), running(tmp_path) as (_, process):
        engine = engine_at(client.port, process)
        for _ in range(3):
            done_of(await collect(engine, ask("A story.")))
        assert asked(server) == [None, None, None]
        await engine.close()


async def test_what_cannot_be_written_as_json_is_the_callers_fault_and_leaves_no_slot_taken() -> None:
    async with served(answers) as (_, client):
        engine = engine_at(client.port, None)
        failed = failed_of(await collect(engine, ask("A story.", json_schema={"maximum": 10**30})))
        assert "cannot be sent" in str(failed.error["message"])
        assert failed.error["status"] == 400
        done_of(await collect(engine, ask("A story.")))
        await engine.close()

"""The client of HTTP engines, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from loaders.llama_cpp import SPEC
from modules.drivers import http_client
from modules.drivers.http_client import ConnectionLost, HttpClient, events, read_all
from modules.drivers.llama_server import WAITING_IN_ENGINE, LlamaServerEngine
from modules.types import Endpoint, EngineInfo, Notice, Progress, Text
from tests.engine.making import ask, collect, failed_of, text_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Counts what it sees; `answer` writes the response to each request."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests: list[bytes] = []
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(size))
                await self.answer(self.requests[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[tuple[Server, HttpClient]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    client = HttpClient(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", "secret")
    async with listening:
        yield server, client
        await client.close()
        await asyncio.sleep(0.02)


async def small(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 11\r\n\r\n" + b'{"fine": 1}')


async def test_requests_share_a_connection_and_carry_the_key() -> None:
    async with served(small) as (server, client):
        for _ in range(5):
            assert await client.post("/x", {"a": 1}) == (200, {"fine": 1})
        assert await client.get("/y") == (200, {"fine": 1})
        assert server.connections == 1
        assert all(b"Authorization: Bearer secret\r\n" in request for request in server.requests)


async def test_a_connection_closed_while_idle_is_replaced_without_a_word() -> None:
    async def answer_once(request: bytes, writer: asyncio.StreamWriter) -> None:
        await small(request, writer)
        await writer.drain()
        writer.close()

    async with served(answer_once) as (server, client):
        for _ in range(3):
            assert (await client.post("/x", {}))[0] == 200
            await asyncio.sleep(0.02)
        assert server.connections == 3


async def test_an_idle_connection_is_not_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "IDLE", 0.05)
    async with served(small) as (server, client):
        await client.post("/x", {})
        await asyncio.sleep(0.1)
        await client.post("/x", {})
        assert server.connections == 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_stream_cut_anywhere_gives_whole_events(size: int) -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        body = b"".join(b'data: {"n": %d, "t": "\xc3\xa9"}\n\n' % n for n in range(20))
        data = STREAM + b"".join(chunk(body[at : at + 11]) for at in range(0, len(body), 11)) + b"0\r\n\r\n"
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await asyncio.sleep(0)

    async with served(answer) as (server, client):
        for _ in range(2):
            connection = await client.stream("/x", {})
            found = [event async for batch in events(connection) for event in batch]
            client.release(connection)
            assert found == [b'data: {"n": %d, "t": "\xc3\xa9"}' % n for n in range(20)]
        assert server.connections == 1, "a body read to its end leaves the connection usable"


async def test_letting_go_of_a_stream_hangs_up() -> None:
    async def for_ever(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        while not writer.is_closing():
            writer.write(chunk(b"data: 1\n\n"))
            await writer.drain()
            await asyncio.sleep(0.01)

    took = []
    for _ in range(5):  # the quickest counts: other programs can make it slower, never quicker
        async with served(for_ever) as (server, client):
            connection = await client.stream("/x", {})
            await connection.piece()
            started = time.monotonic()
            client.release(connection)
            await asyncio.wait_for(server.hung_up.wait(), 10)
            took.append(time.monotonic() - started)
    assert min(took) < 0.2


async def test_an_answer_that_breaks_off_is_an_error_and_not_an_end() -> None:
    async def half(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(b"data: 1\n\n"))
        await writer.drain()
        writer.close()

    async with served(half) as (_, client):
        connection = await client.stream("/x", {})
        with pytest.raises(ConnectionLost):
            await read_all(connection)
        client.release(connection)


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    async def old(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + b'{"a": ')
        await writer.drain()
        writer.write(b"[1, 2]}")
        writer.close()

    async with served(old) as (_, client):
        assert await client.post("/", {}) == (200, {"a": [1, 2]})
        assert await client.post("/", {}) == (200, {"a": [1, 2]})
        await client.close()


async def test_what_is_no_http_is_an_error() -> None:
    async def nonsense(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-hello\r\n\r\n")

    async with served(nonsense) as (_, client):
        with pytest.raises(ConnectionLost):
            await client.post("/x", {})


async def test_nobody_listening_is_an_error_at_once() -> None:
    client = HttpClient("http://127.0.0.1:9", "")
    with pytest.raises(OSError):
        await client.get("/health")
    await client.close()


# ── the driver, on answers the real engine seldom gives ─────────────────────────────────────────────


@asynccontextmanager
async def driven(answer: Answer) -> AsyncIterator[LlamaServerEngine]:
    async with served(answer) as (_, client):
        info = EngineInfo("m", "llama.cpp", 64)
        engine = LlamaServerEngine(Endpoint(f"http://127.0.0.1:{client.port}", "", "llama-server"), info, SPEC)
        yield engine
        await engine.close()


def token(text: str, count: int, more: str = "") -> bytes:
    return b'data: {"content":"%s","tokens_predicted":%d,"stop":false%s}\n\n' % (
        text.encode(), count, more.encode())  # fmt: skip


async def test_an_error_in_mid_stream_fails_the_reply_and_keeps_its_text() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        error = b'data: {"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}\n\n'
        writer.write(STREAM + chunk(token("some", 1)) + chunk(token(" text", 2)) + chunk(error) + b"0\r\n\r\n")

    async with driven(answer) as engine:
        chunks = await collect(engine, ask())
        assert text_of(chunks) == "some text"
        assert failed_of(chunks).error["code"] == "context_full"


async def test_text_that_arrives_together_is_one_chunk_with_its_count_of_tokens() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(token("a", 1) + token("b", 2) + b": ping\n\n" + token("é🎉", 5)))

    async with driven(answer) as engine:
        stream = engine.generate(ask())
        assert await anext(stream) == Text("abé🎉", 5)
        await stream.aclose()


async def test_a_connection_that_breaks_fails_the_reply() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(token("half", 1)))
        await writer.drain()
        writer.close()

    async with driven(answer) as engine:
        chunks = await collect(engine, ask())
        assert text_of(chunks) == "half"
        assert failed_of(chunks).error["code"] == "engine_unreachable"


async def test_only_a_few_requests_wait_in_the_engine_and_the_others_here() -> None:
    async def slow(request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        end = b'data: {"content":"","tokens_predicted":0,"tokens_evaluated":1,"stop":true,"stop_type":"eos"}\n\n'
        writer.write(STREAM + chunk(end) + b"0\r\n\r\n")

    async with driven(slow) as engine:
        started = time.monotonic()
        replies = await asyncio.gather(*(collect(engine, ask()) for _ in range(40)))
        assert all(type(chunks[-1]).__name__ == "Done" for chunks in replies)
        waited = [chunks for chunks in replies if isinstance(chunks[0], Progress) and chunks[0].stage == "queued"]
        assert len(waited) == 40 - 1 - WAITING_IN_ENGINE
        assert time.monotonic() - started > 0.1
        begun = [asyncio.create_task(anext(engine.generate(ask()))) for _ in range(1 + WAITING_IN_ENGINE)]
        await until(engine._room.locked)
        for request in begun:
            request.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await asyncio.gather(*(collect(engine, ask()) for _ in range(1 + WAITING_IN_ENGINE)))
        assert not engine._room.locked(), "a cancelled request gives its place back"


@pytest.mark.parametrize(
    ("status", "body", "code", "our_status"),
    [
        (400, b'{"error":{"code":400,"message":"bad","type":"invalid_request_error"}}', "bad_request", 400),
        (401, b'{"error":{"code":401,"message":"key","type":"authentication_error"}}', "engine_error", 500),
        (503, b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}', "not_ready", 503),
        (500, b"<html>proxy says no</html>", "engine_error", 500),
    ],
)
async def test_a_refusal_becomes_the_right_error(status: int, body: bytes, code: str, our_status: int) -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    async with driven(answer) as engine:
        error = failed_of(await collect(engine, ask())).error
        assert (error["code"], error["status"]) == (code, our_status)


async def test_an_unreadable_event_fails_the_reply() -> None:
    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(b"data: {broken\n\n"))

    async with driven(answer) as engine:
        assert failed_of(await collect(engine, ask())).error["code"] == "engine_error"


def probable(text: str, count: int) -> bytes:
    """An event with the probability of its last token, as llama-server sends it."""
    one = b'{"id":7,"token":"x","bytes":[120],"logprob":-0.5,"top_logprobs":[]}'
    return b'data: {"content":"%s","tokens_predicted":%d,"stop":false,"completion_probabilities":[%s]}\n\n' % (
        text.encode(), count, one)  # fmt: skip


async def test_tokens_inside_a_character_that_have_no_probabilities_are_told_of_once() -> None:
    def answering(*events: bytes) -> Answer:
        async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
            end = b'data: {"content":"","tokens_predicted":9,"tokens_evaluated":1,"stop":true,"stop_type":"eos"}\n\n'
            writer.write(STREAM + b"".join(chunk(event) for event in (*events, end)) + b"0\r\n\r\n")

        return answer

    async with driven(answering(probable("a", 1), probable("🎉", 4), probable("🎊", 7), probable("b", 8))) as engine:
        chunks = await collect(engine, ask(logprobs=0))
        assert [one.code for one in chunks if isinstance(one, Notice)] == ["logprobs_incomplete"]
        assert sum(len(one.logprobs) for one in chunks if isinstance(one, Text)) == 4
        chunks = await collect(engine, ask())
        assert not any(isinstance(one, Notice) for one in chunks), "nobody asked for probabilities"
    # A control token has no text; that it is missing among the marks of the text takes nothing away.
    async with driven(answering(probable("a", 1), probable("b", 3), probable("é", 4))) as engine:
        chunks = await collect(engine, ask(logprobs=0))
        assert not any(isinstance(one, Notice) for one in chunks)

"""Small servers of OpenAI's protocol for tests, and the driver for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from loaders.openai_endpoint import SPEC
from modules.drivers.openai_server import OpenAIServerEngine
from modules.types import Endpoint, EngineInfo

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}


@dataclass
class Asked:
    """One request a server saw."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Fake:
    """A server; `answer` writes what comes back. `healthy` is what its health route says."""

    answer: Answer
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    healthy: bool = True
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                path = first.split(" ")[1]
                if path == "/health" or path.endswith("/models"):
                    writer.write(plain({"data": []}, 200 if self.healthy else 503))
                else:
                    self.asked.append(Asked(path, headers, json.loads(raw) if raw else {}))
                    await self.answer(self.asked[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()


def plain(body: Any, status: int = 200, kind: str = "application/json", more: str = "") -> bytes:
    """A whole answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def piece(text: str, reason: str | None = None, **more: Any) -> bytes:
    """A piece of a chat."""
    return event({"choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": reason}]})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def saying(*events: bytes, end: bytes = END) -> Answer:
    """Streams these events, each in a piece of its own."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for one in events:
            writer.write(chunk(one))
            await writer.drain()
            await asyncio.sleep(0.005)
        writer.write(end)
        if not end:
            await writer.drain()
            writer.transport.abort()

    return answer


def giving(raw: bytes) -> Answer:
    """Answers with exactly this."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return answer


GOOD = saying(piece("Hel"), piece("lo"), piece("", "stop"), event(USAGE), DONE)


@asynccontextmanager
async def faking(answer: Answer, port: int = 0) -> AsyncIterator[Fake]:
    fake = Fake(answer)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", port)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()


def driver(url: str, flavour: str = "openai", slots: int = 2, **more: Any) -> OpenAIServerEngine:
    """The driver for a server that is not ours."""
    more.setdefault("key", "secret-key")
    endpoint = Endpoint(
        url, more.pop("key"), flavour, model="m", hosted=False, timeout=more.pop("timeout", 20.0), **more
    )
    return OpenAIServerEngine(
        endpoint, EngineInfo("mine", "x", 1000, slots, endpoint=endpoint, renders_templates=False), SPEC
    )

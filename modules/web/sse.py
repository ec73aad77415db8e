"""Streams of server-sent events and of JSON lines over ASGI, watching for the client's hang-up. No web framework.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html . The headers go out with
the first event, so that an error before it still gets its own HTTP status; when the first event is long in
coming, they go out with a comment line that keeps proxies and clients from giving up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from modules.errors import seconds_to_wait

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, bytes]
SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
KEEP_ALIVE_S = 5.0


@dataclass(frozen=True, slots=True)
class Framing:
    """How pieces of a stream are told apart.

    comment  makes a keep-alive of a word; None where the format has no room for one
    error    makes the last piece of an error's JSON
    """

    headers: Sequence[tuple[bytes, bytes]]
    comment: Callable[[str], bytes] | None
    error: Callable[[bytes], bytes]


SSE = Framing(
    SSE_HEADERS,
    lambda word: b": " + word.replace("\n", " ").encode() + b"\n\n",
    lambda body: b"data: " + body + b"\n\n",
)
NDJSON = Framing([(b"content-type", b"application/x-ndjson"), *SSE_HEADERS[1:]], None, lambda body: body + b"\n")


class _Line:
    """The one response being written. `started` = headers are out."""

    def __init__(self, send: Send, framing: Framing) -> None:
        self._send = send
        self._framing = framing
        self.started = False
        self.ended = False
        self.last = asyncio.get_running_loop().time()

    async def event(self, body: bytes) -> None:
        if not self.started:
            await self._begin()
        self.last = asyncio.get_running_loop().time()
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _begin(self) -> None:
        self.started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": [*self._framing.headers]})

    async def finish(self) -> None:
        if not self.started:
            await self._begin()
        self.ended = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def keep_alive(self, every_s: float, comment: Callable[[], str]) -> None:
        made = self._framing.comment
        if made is None:
            return
        loop = asyncio.get_running_loop()
        while not self.ended:
            wait = self.last + every_s - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            elif not self.ended:
                await self.event(made(comment()))


async def disconnected(receive: Receive) -> None:
    """Returns when the client is gone. The request's body has to be read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, Any]) -> bool:
    """Run `work` until it ends or the client hangs up; then cancel it and wait for it. True = it ended."""
    task = asyncio.ensure_future(work)
    hangup = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({task, hangup}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()
    finally:
        for running in (task, hangup):
            running.cancel()
        await asyncio.gather(task, hangup, return_exceptions=True)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def send_events(
    receive: Receive,
    send: Send,
    events: AsyncGenerator[bytes, None],
    error_answer: Callable[[Exception], Answer],
    comment: Callable[[], str] = lambda: "keep-alive",
    keep_alive_s: float = KEEP_ALIVE_S,
) -> None:
    """Send each of `events` (complete SSE events as bytes) at once; see `send_stream`."""
    await send_stream(receive, send, events, SSE, error_answer, comment, keep_alive_s)


async def send_stream(
    receive: Receive,
    send: Send,
    events: AsyncGenerator[bytes, None],
    framing: Framing,
    error_answer: Callable[[Exception], Answer],
    comment: Callable[[], str] = lambda: "keep-alive",
    keep_alive_s: float = KEEP_ALIVE_S,
) -> None:
    """Send each of `events` (complete pieces in this framing, as bytes) at once.

    A hang-up closes `events`. An exception in `events` becomes `error_answer(exception)`: a JSON answer with
    that status while nothing has been sent, one last piece afterwards.
    """
    line = _Line(send, framing)

    async def pump() -> None:
        try:
            async for event in events:
                await line.event(event)
        except Exception as error:
            status, body = error_answer(error)
            if not line.started:
                line.ended = line.started = True
                await send_answer(send, status, body, seconds_to_wait(error))
                return
            await line.event(framing.error(body))
        await line.finish()

    beat = asyncio.ensure_future(line.keep_alive(keep_alive_s, comment))
    try:
        await unless_disconnected(receive, pump())
    finally:
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        await events.aclose()


async def send_answer(send: Send, status: int, body: bytes, retry_after: int = 0) -> None:
    """One whole JSON answer. `retry_after` seconds are told as a header, 0 = none."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})

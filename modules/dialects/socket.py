"""Answers over a WebSocket: each text message is a request, its reply comes in messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from fastapi import WebSocket

from modules.dialects.body import Body
from modules.dialects.dialect import Dialect
from modules.dialects.endpoint import parse_object

MOST_WAITING = 16
"""Requests of one connection that wait for those before them."""
Reply = Callable[[Body], AsyncGenerator[bytes, None]]


async def serve_socket(dialect: Dialect, reply: Reply, websocket: WebSocket) -> None:
    """Answer requests, one after the other, until the client closes. A hang-up closes the reply in progress.

    An error is one message in the dialect's shape; the connection stays open for the next request. A client that
    sends more than MOST_WAITING requests ahead is disconnected (code 1008).
    """
    await websocket.accept()
    waiting: asyncio.Queue[bytes | str] = asyncio.Queue(MOST_WAITING)

    async def listen() -> None:
        while (message := await websocket.receive())["type"] != "websocket.disconnect":
            if waiting.full():
                await websocket.close(1008)
                return
            waiting.put_nowait(message.get("text") or message.get("bytes") or "")

    async def speak() -> None:
        while True:
            await _answer(dialect, reply, websocket, await waiting.get())

    tasks = [asyncio.ensure_future(listen()), asyncio.ensure_future(speak())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(dialect: Dialect, reply: Reply, websocket: WebSocket, request: bytes | str) -> None:
    try:
        async with aclosing(reply(Body(parse_object(request)))) as pieces:
            async for piece in pieces:
                await websocket.send_text(piece.decode())
    except Exception as error:
        await websocket.send_text(dialect.error(error).body.decode())

"""/api/events: one WebSocket per open page, for everything that changes elsewhere."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from modules.api.state import full_state
from modules.app import App
from modules.events import RESYNC, Subscription


def routes(app: App) -> APIRouter:
    """The events WebSocket."""
    router = APIRouter()

    @router.websocket("/api/events")
    async def events(socket: WebSocket) -> None:
        """First {"type": "hello", "state": …}, then events as they happen. What the page sends is not looked at.

        Who did not keep up gets {"type": "resync", "state": …} for all it has missed.
        """
        await socket.accept()
        subscription = app.events.subscribe()
        tasks = [asyncio.create_task(_send(socket, subscription, app)), asyncio.create_task(_until_gone(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            subscription.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return router


async def _send(socket: WebSocket, subscription: Subscription, app: App) -> None:
    try:
        await socket.send_json({"type": "hello", "state": await full_state(app)})
        async for event in subscription:
            if event is RESYNC:
                event = {**event, "state": await full_state(app)}
            await socket.send_json(event)
        await socket.close(1001)
    except (WebSocketDisconnect, RuntimeError, OSError):
        return  # the page is gone; there is nobody left to tell


async def _until_gone(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return

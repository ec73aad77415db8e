"""The outermost layer around a stand-in for everything behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from modules.api.auth import Auth
from modules.api.origins import OriginPolicy
from modules.api.security import Security

KEY = "a-key-of-the-tests"
COOKIE = Auth(KEY).cookie


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for everything behind the middleware: says what it got, and accepts every WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    body = await Request(scope, receive).body()
    await JSONResponse({"size": len(body), "path": scope["path"]})(scope, receive, send)


def guard(
    key: str = "", bind: str = "127.0.0.1", hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()
) -> Security:
    return Security(inner, OriginPolicy.of(bind, hosts, origins, bool(key)), Auth(key))


def ask(security: Security, method: str = "GET", path: str = "/api/x", **more: Any) -> httpx.Response:
    async def go() -> httpx.Response:
        headers = {"host": "localhost:7860", **more.pop("headers", {})}
        transport = httpx.ASGITransport(security, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:7860") as client:
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(go())


def open_socket(security: Security, headers: dict[str, str], path: str = "/api/events") -> list[dict[str, Any]]:
    """What the server says to a WebSocket upgrade with these headers."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in {"host": "localhost:7860", **headers}.items()]
    scope = {"type": "websocket", "path": path, "headers": raw, "query_string": b""}
    asyncio.run(security(scope, receive, send))
    return sent

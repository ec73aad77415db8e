"""Lets through what the page needs of Gradio and nothing else.

Gradio serves more than our page uses: uploads, files by path, a proxy that fetches addresses for the client,
an API with its documentation. What is not used cannot be abused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]

ALLOWED = (
    "/assets/",
    "/static/",
    "/svelte/",
    "/gradio_api/startup-events",
    "/gradio_api/run/",
)
EXACT = frozenset({"", "/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/gradio_api/app_id"})
_BODY = b"Not found"
_CORS = b"access-control-"


class Gate:
    """ASGI: 404 for every address of the mounted app that is not on the list.

    Gradio lets pages of every origin read its answers where the server has another name than localhost: who may read
    is decided by the app around it (`--cors-origins`), so its headers about that are taken out.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not needed(str(scope["path"])):
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(_BODY)).encode())]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})
            return

        async def without_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if not bytes(pair[0]).lower().startswith(_CORS)]
                message = {**message, "headers": kept}
            await send(message)

        await self.app(scope, receive, without_cors)


def needed(path: str) -> bool:
    """Whether the page itself asks for this address."""
    return path in EXACT or (path.startswith(ALLOWED) and ".." not in path)

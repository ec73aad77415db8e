"""From an HTTP request to a handler and back: reading the JSON body, streaming or whole answers, hang-ups."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from modules.extension_api import BadRequest, seconds_to_wait, send_answer, send_events, unless_disconnected

from .encoding import encoded
from .errors import error_answer

Handler = Callable[[dict[str, Any]], Awaitable[Response]]


class Whole(Response):
    """One JSON answer that `work` computes; a client that hangs up cancels it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        super().__init__()
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            status, wait = 200, 0
            try:
                body = encoded(await self._work())
            except Exception as error:
                status, body = error_answer(error)
                wait = seconds_to_wait(error)
            await send_answer(send, status, body, wait)

        await unless_disconnected(receive, answer())


class Events(Response):
    """A stream of server-sent events; a client that hangs up closes it."""

    def __init__(self, events: AsyncGenerator[bytes, None], comment: Callable[[], str]) -> None:
        super().__init__()
        self._events = events
        self._comment = comment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_events(receive, send, self._events, error_answer, self._comment)


class Problem(Response):
    """An error found before any work began."""

    def __init__(self, error: Exception) -> None:
        status, body = error_answer(error)
        wait = seconds_to_wait(error)
        headers = {"retry-after": str(wait)} if wait else None
        super().__init__(body, status, headers, media_type="application/json")


async def answered(handler: Handler, request: Request) -> Response:
    """What `handler` makes of the request's JSON object, or the error in OpenAI's shape."""
    try:
        return await handler(await _json_object(request))
    except Exception as error:
        return Problem(error)


async def _json_object(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise BadRequest("The body has to be JSON.", hint="Send the header Content-Type: application/json.")
    try:
        body = orjson.loads(await request.body())
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("The body has to be a JSON object.")
    return body

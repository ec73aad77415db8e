"""The outermost layer of the server: every request and every WebSocket passes here first, Gradio's too.

Plain ASGI, because the framework's middleware classes hide a client's hang-up, and a hidden hang-up is an
engine that runs on. In order: host name, origin, key, body. On the way back only the first message of an
answer is touched, so a streamed token costs one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api import bodies, errors
from modules.api.auth import Auth
from modules.api.headers import SECURITY_HEADERS, cors_headers, preflight_headers
from modules.api.origins import SAFE_METHODS, OriginPolicy
from modules.dialects.dialect import Dialect
from modules.errors import EnginehouseError, Unauthorized, UnsupportedMediaType

_QUICK = 256 * 1024  # bytes of JSON that are checked right here; more goes to a thread


class Security:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy, auth: Auth, dialects: Sequence[Dialect] = ()) -> None:
        self.app = app
        self.dialects = dialects
        self.policy = policy
        self.auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self.policy.check_host(headers)
            self.policy.check_origin(headers)
            self.auth.check(scope["path"], headers)
        except EnginehouseError as error:
            await receive()  # the connect message; closing before accepting becomes HTTP 403
            await send({"type": "websocket.close", "code": 1008, "reason": error.message[:120]})
            return
        await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        cors = cors_headers(origin) if self.policy.cors_allows(origin) else ()
        send = with_headers(send, SECURITY_HEADERS[:-3] + cors if cors else SECURITY_HEADERS)
        try:
            self.policy.check_host(headers)
            if cors and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                asked = headers.get("access-control-request-headers", "")
                await _preflight(origin, asked)(scope, receive, send)
                return
            if scope["method"] in SAFE_METHODS:
                self.policy.check_read(headers)
            else:
                self.policy.check_origin(headers)
            self.auth.check(scope["path"], headers)
            receive = await checked_body(scope, headers, receive)
        except bodies.ClientGone:
            return
        except EnginehouseError as error:
            await self._refusal(error, scope, headers)(scope, receive, send)
            return
        if isinstance(receive, bodies.Counted):
            await limited(self.app, scope, receive, send, self.dialects)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, error: EnginehouseError, scope: Scope, headers: Mapping[str, str]) -> Response:
        """The error as JSON; a person who opens a page without a key is shown the login page instead."""
        wants_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if isinstance(error, Unauthorized) and wants_page:
            return RedirectResponse("/login?next=" + quote(scope["path"], safe="/"), 303)
        return errors.answer_at(error, scope["path"], self.dialects)


def with_headers(send: Send, extra: tuple[tuple[bytes, bytes], ...]) -> Send:
    """A `send` that adds headers to an answer unless the route has set them itself."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            present = {bytes(name).lower() for name, _ in own}
            message = {**message, "headers": own + [pair for pair in extra if pair[0] not in present]}
        await send(message)

    return wrapped


async def checked_body(scope: Scope, headers: Mapping[str, str], receive: Receive) -> Receive:
    """A `receive` whose body is within the limits.

    JSON is read in full and checked before any route sees it; uploads are counted while they stream.
    Raises TooLarge, BadRequest, UnsupportedMediaType or ClientGone.
    """
    limit = bodies.limit_of(scope["path"])
    length = bodies.declared_length(headers.get("content-length"), limit)
    if scope["method"] in SAFE_METHODS or (length == 0 and "transfer-encoding" not in headers):
        return receive
    kind = headers.get("content-type", "")
    if bodies.is_json(kind):
        body = await bodies.read_all(receive, limit)
        most = bodies.MOST_VALUES if scope["path"].startswith("/api/") else 0
        if len(body) <= _QUICK:
            bodies.check_json(body, most)
        else:
            await asyncio.to_thread(bodies.check_json, body, most)
        return bodies.replay(body, receive)
    if bodies.takes_other_bodies(scope) or kind.lower().startswith("multipart/form-data"):
        return bodies.Counted(receive, limit)
    # A page of another site can make a browser send forms and plain text unasked, but never JSON.
    raise UnsupportedMediaType.for_body(kind)


async def limited(
    app: ASGIApp, scope: Scope, receive: bodies.Counted, send: Send, dialects: Sequence[Dialect] = ()
) -> None:
    """Run the app; when its body turns out too large, the answer is 413, whatever the app makes of it."""
    started = False

    async def guarded(message: Message) -> None:
        nonlocal started
        if receive.over and not started:
            return
        started = True
        await send(message)

    try:
        await app(scope, receive, guarded)
    except Exception:
        if not receive.over:
            raise
    if receive.over and not started:
        answer = errors.answer_at(bodies.too_large(receive.limit), scope["path"], dialects)
        await answer(scope, receive, send)


def _preflight(origin: str, asked: str) -> Response:
    response = Response(status_code=204)
    response.raw_headers.extend(preflight_headers(origin, asked))
    return response

"""From an HTTP request to a handler and back: reading the JSON body, errors in the dialect's shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from modules.dialects.body import Body
from modules.dialects.dialect import Dialect
from modules.dialects.responses import ErrorResponse
from modules.errors import BadRequest, UnsupportedMediaType

Handler = Callable[[Body], Awaitable[Response]]


async def answered(dialect: Dialect, handler: Handler, request: Request) -> Response:
    """What `handler` makes of the request's JSON object, or the error in the dialect's shape."""
    try:
        return await handler(Body(await _json_object(request)))
    except Exception as error:
        return ErrorResponse(dialect, error)


async def _json_object(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType.for_body(kind)
    return parse_object(await request.body())


def parse_object(text: bytes | str) -> dict[str, Any]:
    """A JSON object. Raises BadRequest."""
    try:
        body = orjson.loads(text)
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest("The body has to be a JSON object.", code="invalid_json")
    return body

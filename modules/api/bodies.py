"""Limits for request bodies: size for every body, and shape for JSON before anything parses it."""

from __future__ import annotations

import json
import re

from starlette.types import Message, Receive, Scope

from modules.errors import BadRequest, TooLarge

LIMIT = 20 * 1024 * 1024
LOGIN_LIMIT = 4096
"""Bytes of a body for /login, which needs no key."""
MOST_VALUES = 100_000
"""Values in the JSON of a request to our own API, which has no lists as long as the token ids of an API dialect."""
DEPTH = 64
_BRACKETS_ONLY = bytes(set(range(256)) - set(b"[]"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class ClientGone(Exception):
    """The client hung up before its body was complete; there is nobody to answer."""


def too_large(limit: int = LIMIT) -> TooLarge:
    """The error for a body over `limit` bytes."""
    size = f"{limit // (1024 * 1024)} MB" if limit >= 1024 * 1024 else f"{limit // 1024} KB"
    return TooLarge(
        f"The request's body is larger than {size}.",
        hint="Send less text at once.",
        code="body_too_large",
    )


def limit_of(path: str) -> int:
    """Bytes the body of a request to this address may have."""
    return LOGIN_LIMIT if path == "/login" else LIMIT


def declared_length(value: str | None, limit: int = LIMIT) -> int:
    """Content-Length as a number, 0 when there is none. Raises BadRequest for nonsense, TooLarge over the limit."""
    if value is None:
        return 0
    if not value.isascii() or not value.isdigit():
        raise BadRequest("The Content-Length header is not a number.")
    length = int(value[:20])
    if length > limit:
        raise too_large(limit)
    return length


def is_json(content_type: str) -> bool:
    """Whether a Content-Type says JSON ("application/json", "application/problem+json; charset=utf-8")."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def read_all(receive: Receive, limit: int = LIMIT) -> bytes:
    """The whole body, at most `limit` bytes. Raises TooLarge, or ClientGone on a hang-up."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def depth_of(body: bytes, limit: int = DEPTH) -> int:
    """An upper bound of how deep JSON text is nested, exact above `limit` opening brackets; `limit + 1` = too deep.

    Works on bytes in a few passes of C code, so that a hostile body costs no recursion and little time:
    strings are cut out, then one level of innermost brackets is removed per pass.
    """
    at_most = body.count(b"[") + body.count(b"{")
    if at_most <= limit:
        return at_most
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(bare.split(b'"')[::2]).translate(_ONE_KIND).translate(None, _BRACKETS_ONLY)
    for level in range(limit + 1):
        if not brackets:
            return level
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            # Unbalanced, so no JSON; but what is open may still be deep enough to exhaust a parser.
            return min(limit + 1, level + brackets.count(b"["))
        brackets = fewer
    return limit + 1


def has_more_values(body: bytes, limit: int) -> bool:
    """Whether JSON text holds more than about `limit` values (commas outside of strings)."""
    if body.count(b",") <= limit:
        return False
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return sum(piece.count(b",") for piece in bare.split(b'"')[::2]) > limit


def check_json(body: bytes, most_values: int = 0) -> None:
    """Raises BadRequest for text that is not UTF-8, nests too deep, holds too much or half a surrogate pair.

    `most_values` 0 = any number of values.
    Whether it is JSON at all is left to the parser. Half a surrogate pair is valid JSON but no text: it
    could neither be saved nor sent to an engine.
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8 text.", code="invalid_json") from None
    if most_values and has_more_values(body, most_values):
        raise BadRequest(f"The JSON holds more than {most_values:,} values.", code="json_too_large")
    if depth_of(body) > DEPTH:
        raise BadRequest(f"The JSON is nested deeper than {DEPTH} levels.", code="json_too_deep")
    if _ESCAPED_SURROGATE.search(body):
        try:
            json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise BadRequest("The JSON holds half of a character (a lone surrogate).", code="invalid_json") from None
        except (ValueError, RecursionError):
            return


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out a body already read, then what the connection says."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class Counted:
    """A `receive` that stops a streamed body at `limit`: the app sees a hang-up, `over` tells why."""

    def __init__(self, receive: Receive, limit: int = LIMIT) -> None:
        self._receive = receive
        self.limit = limit
        self._size = 0
        self.over = False

    async def __call__(self) -> Message:
        if self.over:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self.limit:
            self.over = True
            return {"type": "http.disconnect"}
        return message


def takes_other_bodies(scope: Scope) -> bool:
    """Routes that read bodies other than JSON: the login form and Gradio's uploads."""
    path = str(scope["path"])
    return path == "/login" or path.startswith("/gradio_api/")

"""Server-sent events as an answer of a route."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modules.api import errors
from modules.api.json_response import to_json
from modules.errors import EnginehouseError
from modules.web.sse import send_events

KEEP_ALIVE_SECONDS = 15.0
_log = logging.getLogger("enginehouse.api")


def event(data: Mapping[str, Any]) -> bytes:
    """One event without a name or an id."""
    return b"data: " + to_json(data) + b"\n\n"


class EventStream(Response):
    """Sends each dict of an async generator as one event.

    A client that hangs up closes the generator, and nothing else: what it follows goes on.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[dict[str, Any], None], keep_alive: float = KEEP_ALIVE_SECONDS) -> None:
        super().__init__()
        self._events = events
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_events(receive, send, _encoded(self._events), _as_event, keep_alive_s=self._keep_alive)


async def _encoded(events: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    try:
        async for data in events:
            yield event(data)
    finally:
        await events.aclose()


def _as_event(error: Exception) -> tuple[int, bytes]:
    if isinstance(error, EnginehouseError):
        known = error
    else:
        _log.error("following a reply failed", exc_info=error)
        known = errors.unexpected()
    return known.status, to_json({"error": known.as_dict()})

"""JSON answers made by orjson: a chat of a thousand messages must not hold up the tokens of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response


def to_json(data: Any) -> bytes:
    """Compact JSON. Read-only mappings are objects."""
    return orjson.dumps(data, default=_plain, option=orjson.OPT_NON_STR_KEYS)


def json_answer(body: bytes) -> Response:
    """A response for JSON that was made before, in a thread if it is large."""
    return Response(body, media_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")

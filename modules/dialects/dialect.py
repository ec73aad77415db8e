"""An API dialect as the server knows it: where its addresses are, and what its errors look like."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from modules.dialects.encoding import encoded
from modules.errors import EnginehouseError, seconds_to_wait

log = logging.getLogger(__name__)
Shape = Callable[[EnginehouseError], Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API dialect.

    prefixes  addresses below which every error has this dialect's shape, also one raised before a route is reached
              (no key, body too large, no such address): "/v1" stands for /v1 and everything under /v1/
    shape     the JSON body of an error; the status is the error's own
    """

    name: str
    prefixes: tuple[str, ...]
    shape: Shape

    def owns(self, path: str) -> int:
        """The length of the prefix that `path` is under, 0 when it is under none."""
        under = [p for p in self.prefixes if path == p.rstrip("/") or path.startswith(p.rstrip("/") + "/")]
        return max(map(len, under), default=0)

    def error(self, error: Exception) -> ErrorAnswer:
        """What a client is told; anything unexpected is logged and told as a fault of the server."""
        known = error
        if not isinstance(known, EnginehouseError):
            log.error("a request to the %s API failed", self.name, exc_info=error)
            known = EnginehouseError("The server failed at this request.", hint="Its log says more.")
        return ErrorAnswer(known.status, encoded(self.shape(known)), seconds_to_wait(known))


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as it is sent. `wait` is seconds for the header Retry-After, 0 = none."""

    status: int
    body: bytes
    wait: int = 0


class DialectRouter(APIRouter):
    """What an extension's `routes` hook gives back for an API dialect: its routes, and the dialect they speak."""

    def __init__(self, dialect: Dialect, **more: Any) -> None:
        super().__init__(**more)
        self.dialect = dialect


def dialect_of(path: str, dialects: Sequence[Dialect]) -> Dialect | None:
    """The dialect with the longest prefix that an address is under."""
    best = max(dialects, key=lambda dialect: dialect.owns(path), default=None)
    return best if best is not None and best.owns(path) else None

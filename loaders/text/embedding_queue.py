"""Texts whose vectors are computed one after the other: whoever waits for a turn still hears a cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from modules.errors import Cancelled

_LOOK = 0.1
"""Seconds between two looks at whether the work is still wanted."""


@contextmanager
def turn(lock: Lock, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold `lock` alone. Raises Cancelled soon after `cancelled` turns true while others hold it, however long their
    texts are: a request that does not end in time is taken for an engine that hangs, which ends all the others."""
    while not lock.acquire(timeout=_LOOK):
        if cancelled():
            raise Cancelled("The request was cancelled.")
    try:
        yield
    finally:
        lock.release()

"""The time as files hold it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

# What is told is one for the whole process, as the clock is: the one thing here that modules may not each have.
_telling_the_time = threading.Lock()
_last_told = [0]  # milliseconds since 1970


def now() -> str:
    """The time as journals and exports write it: ISO 8601, UTC, milliseconds.

    Each call gives a later time than the one before, or lists sorted by it would show what was saved within one
    millisecond in any order. It runs ahead of the clock for that, by a second at most: a clock set back is followed.
    """
    with _telling_the_time:
        told = time.time_ns() // 1_000_000
        if told <= _last_told[0] < told + 1000:
            told = _last_told[0] + 1
        _last_told[0] = told
    seconds, milliseconds = divmod(told, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def stamp() -> str:
    """The time as part of a file name, sortable and allowed on every system."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")

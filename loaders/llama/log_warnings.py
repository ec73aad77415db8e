"""What the engine itself said while it loaded: a setting it turned off is told, not left in a log."""

from __future__ import annotations

import os
import re
import stat

_LINE = re.compile(r"^[\d.]+ W (?P<said>.+)$")
_TOLD = re.compile(
    r"it will be disabled|set to disabled|failed to mlock|mlock not supported|forcing off|shifting is not supported|"
    r"speculative decoding not supported",
    re.IGNORECASE,
)
_PLACE = re.compile(r"^(?:\w+\s+)?[\w~]+\s*: +(?:[\w~:()]+: +)?")
_MOST = 256 * 1024


def log_size() -> int:
    """Bytes in the worker's log now; -1 where stderr is no file."""
    found = os.fstat(2)
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def warnings_since(start: int) -> list[str]:
    """The engine's own sentences about what it does not do, since the log had that size. Linux only; else none."""
    if start < 0:
        return []
    try:
        with open("/proc/self/fd/2", "rb") as file:
            file.seek(start)
            text = file.read(_MOST).decode("utf-8", "replace")
    except OSError:  # another system, or a log that was cut meanwhile
        return []
    return warnings_in(text)


def warnings_in(text: str) -> list[str]:
    """Those sentences in the text of a log."""
    found: list[str] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and _TOLD.search(match["said"]):
            said = _PLACE.sub("", match["said"]).strip()
            if said not in found:
                found.append(said)
    return found

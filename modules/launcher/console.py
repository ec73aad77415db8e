"""What the launcher tells the person at the terminal: steps, progress, failures."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

HEARTBEAT_S = 15.0
REDRAW_S = 0.2


class StepFailed(Exception):
    """One step of the launcher went wrong.

    message  what failed, as a phrase ("installing requirements/base.txt")
    why      one sentence
    detail   last lines of the tool's output, oldest first
    hint     another way, or ""; the command to repeat is added by the caller, who knows how it was called
    """

    def __init__(self, message: str, why: str, *, detail: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.why = why
        self.detail = tuple(detail)


class Console:
    """Plain lines, plus one line that is redrawn in place when the output is a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self._live = bool(getattr(self._out, "isatty", lambda: False)())
        self._drawn = 0
        self._last = 0.0
        self._beat = time.monotonic()

    def say(self, text: str = "") -> None:
        """Print a line that stays."""
        self._erase()
        self._out.write(text + "\n")
        self._out.flush()
        self._beat = time.monotonic()

    def progress(self, text: str) -> None:
        """Show what is going on: redrawn in place on a terminal, now and then as a line elsewhere."""
        now = time.monotonic()
        if self._live:
            if now - self._last < REDRAW_S:
                return
            self._last = now
            line = "  " + text
            line = line[: shutil.get_terminal_size().columns - 1]
            self._out.write("\r" + line.ljust(self._drawn))
            self._out.flush()
            self._drawn = len(line)
        elif now - self._beat >= HEARTBEAT_S:
            self.say("  " + text)

    def failed(self, error: StepFailed, repeat: str) -> None:
        """Print a failure: what, why, the tool's last lines, and what to type next."""
        self.say()
        self.say(f"FAILED: {error.message}")
        self.say(f"  why:   {error.why}")
        for line in error.detail:
            self.say(f"         | {line}")
        if error.hint:
            self.say(f"  or:    {error.hint}")
        self.say(f"  again: {repeat}")

    def _erase(self) -> None:
        if self._drawn:
            self._out.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0


def megabytes(size: int) -> str:
    """A size in bytes as people read it."""
    return f"{size / 1_000_000:.0f} MB" if size >= 10_000_000 else f"{size / 1_000_000:.1f} MB"

"""A worker as an operating system process: started in a group of its own, and surely ended with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Child:
    """A running worker. Windows has no process groups of this kind: there the worker alone is ended."""

    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, log: BinaryIO) -> Child:
        """Start `python -m modules.engine.worker`, its stderr going to `log`. Raises OSError.

        `-u` also keeps C libraries from holding back what they print to stdout (Python calls setvbuf for it): their
        last words before a crash would be lost.
        """
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        return cls(await asyncio.create_subprocess_exec(
            sys.executable, "-u", "-X", "faulthandler", "-m", "modules.engine.worker", str(os.getpid()),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT,
            start_new_session=True, creationflags=flags, env=_environment(),
        ))  # fmt: skip

    @property
    def pid(self) -> int | None:
        """Its number while it runs."""
        return None if self.process.returncode is not None else self.process.pid

    @property
    def exit_code(self) -> int | None:
        """As subprocess has it: negative is the signal that ended it."""
        return self.process.returncode

    def write(self, line: bytes) -> None:
        """Queue a line for its stdin; nothing happens when it has gone."""
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(line)

    async def pieces(self) -> AsyncIterator[bytes]:
        """What it writes to its stdout, until it has ended and is reaped."""
        if self.process.stdout is not None:
            while data := await self.process.stdout.read(1 << 16):
                yield data
        await self.process.wait()

    async def put_down(self, close: float, terminate: float) -> None:
        """Close its stdin and wait `close` seconds, terminate and wait `terminate`, kill. Nothing is left after."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if not await self._gone(close):
            self._signal(signal.SIGTERM)
            if not await self._gone(terminate):
                self.kill()
        await self.process.wait()
        self.kill()  # what the engine itself had started

    async def _gone(self, wait: float) -> bool:
        if self.process.returncode is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), wait)
        return self.process.returncode is not None

    def kill(self) -> None:
        """End the whole group at once."""
        self._signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform != "win32":
                os.killpg(self.process.pid, number)
            elif self.process.returncode is None:
                self.process.terminate()


def _environment() -> dict[str, str]:
    """What the worker inherits: everything but this program's own settings, among which may be an API key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")}
    return {**kept, "PYTHONIOENCODING": "utf-8"}

"""One writer per user-data folder: two servers on the same chats would overwrite each other's view.

The system holds the lock and drops it when the process ends, however it ends, so there is never a stale
one to clean up. Who holds it stands in a file beside it, because the lock itself cannot be read on Windows.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from filelock import FileLock, Timeout

from modules.disk.clock import now
from modules.disk.durable import storage_error
from modules.errors import Conflict


class WriterLock:
    """Held from construction until `release`. Raises Conflict, naming the holder, if somebody else has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._holder = path.with_name(f"{path.name}-holder")
        self._lock = FileLock(path, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise Conflict(
                f"Another Enginehouse is using this folder already{self._who()}.",
                hint="Use that one, stop it first, or start this one with another --user-data-dir.",
                code="already_running",
            ) from None
        except OSError as error:
            raise storage_error(path, error, "locked") from error
        try:
            self._holder.write_text(json.dumps({"pid": os.getpid(), "since": now()}), encoding="utf-8")
        except OSError as error:
            self._lock.release()
            raise storage_error(self._holder, error) from error

    def release(self) -> None:
        """Let the next one in; harmless when done twice."""
        self._lock.release()

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f" (process {int(holder['pid'])}, since {str(holder['since'])[:19].replace('T', ' ')} UTC)"
        except (OSError, ValueError, LookupError, TypeError):
            return ""  # being written this very moment, or gone; the lock is what counts

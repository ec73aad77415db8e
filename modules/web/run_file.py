"""run.json in the user-data folder: the address and process of the running server, for other programs."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from modules.disk.clock import now
from modules.disk.durable import durable_write


class RunFile:
    """Written when the server listens, removed when it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, url: str, port: int) -> None:
        """Say where the server is. Raises StorageError."""
        facts = {"url": url, "port": port, "pid": os.getpid(), "started": now()}
        durable_write(self.path, (json.dumps(facts) + "\n").encode())

    def remove(self) -> None:
        """Take it back, if it is still ours."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            if json.loads(self.path.read_text(encoding="utf-8"))["pid"] == os.getpid():
                self.path.unlink()

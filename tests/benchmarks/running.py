"""Starting and stopping a real server for a measurement."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    """A server that answers. `seconds` = from its start to the first answer of /health."""

    url: str
    process: subprocess.Popen[bytes]
    seconds: float

    def call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """One JSON request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read() or b"null")

    def memory(self) -> int:
        """Resident bytes of the server process alone, from /proc."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def wait_for_health(run_file: Path, process: subprocess.Popen[bytes], limit: float = 120) -> str:
    """The address, once /health answers there."""
    deadline = time.perf_counter() + limit
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
        with contextlib.suppress(OSError, ValueError, KeyError):
            url = json.loads(run_file.read_text())["url"].rstrip("/")
            with urllib.request.urlopen(url + "/health", timeout=5):
                return str(url)
        time.sleep(0.01)
    raise SystemExit("the server did not answer in time")


@contextlib.contextmanager
def server(user_data: Path, *flags: str) -> Iterator[Running]:
    """A server on a free port over `user_data`; ended at the end of the block."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "server.py", "--port", "0", "--user-data-dir", str(user_data), *flags],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        url = wait_for_health(user_data / "run.json", process)
        yield Running(url, process, time.perf_counter() - start)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

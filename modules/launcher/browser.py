"""Waiting for the server to say where it listens, then opening a browser there.

`python -m modules.launcher.browser RUN_JSON PID STARTED` does it from a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WAIT_S = 120.0
LOOK_EVERY_S = 0.2


def address(run_file: Path, pid: int, started: float) -> str:
    """The address in the server's run file, "" while it is missing, stale, half written or another server's.

    pid      the server's process number; 0 = do not check
    started  seconds since the epoch; an older file is a former server's
    """
    try:
        # Some file systems keep times to two seconds only.
        if run_file.stat().st_mtime < started - 2:
            return ""
        data: Any = json.loads(run_file.read_text(encoding="utf-8"))
        url, owner = str(data["url"]), int(data["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if pid and owner != pid:
        return ""
    # The file belongs to the person, yet nothing but a web address is ever handed to the desktop.
    return url if urlsplit(url).scheme in ("http", "https") else ""


def open_when_ready(
    run_file: Path, pid: int, started: float, show: Callable[[str], bool] = webbrowser.open, wait_s: float = WAIT_S
) -> bool:
    """Wait for the address and show it. Gives up when the server is gone or nothing comes; True if shown."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        url = address(run_file, pid, started)
        if url:
            return show(url)
        if pid and not _is_alive(pid):
            return False
        time.sleep(LOOK_EVERY_S)
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(arguments: list[str]) -> int:
    run_file, pid, started = arguments
    if hasattr(os, "fork") and os.fork():
        return 0  # the waiting goes on in the child, whose parent is gone
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl+C at the terminal is for the server
    open_when_ready(Path(run_file), int(pid), float(started))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

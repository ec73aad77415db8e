"""Handing over to the server, and to a browser where a person sits in front of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from modules.launcher.browser import open_when_ready
from modules.launcher.chosen import Chosen
from modules.launcher.layout import Layout
from modules.launcher.tool import ask


def browser_wanted(asked: bool, rest: Sequence[str], environ: Mapping[str, str], platform: str) -> Chosen[bool]:
    """Whether to open a browser: only where a person is likely to see it."""
    if not asked:
        return Chosen(False, "--no-browser")
    if "--no-ui" in rest:
        return Chosen(False, "--no-ui")
    if environ.get("CI"):
        return Chosen(False, "this is a CI run")
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return Chosen(False, "this is a remote login")
    if platform not in ("win32", "darwin") and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return Chosen(False, "there is no desktop")
    return Chosen(True, "this is a desktop")


def serve(layout: Layout, rest: Sequence[str], *, browser: bool) -> int:
    """Run server.py until it ends.

    On POSIX the server takes the place of this process, so signals, exit code and parent are the
    server's own and this function does not return. On Windows it is a child that shares the console,
    whose Ctrl+C reaches it directly.
    """
    command = [str(layout.python), str(layout.root / "server.py"), *rest]
    sys.stdout.flush()
    if os.name == "posix":
        if browser:
            _watch_from_outside(layout)
        os.execv(command[0], command)
    return _serve_as_child(command, layout, browser)


def server_help(layout: Layout) -> str:
    """What `server.py --help` prints, "" where it is not installed yet."""
    if not layout.python.exists():
        return ""
    answer = ask([str(layout.python), str(layout.root / "server.py"), "--help"], timeout=60)
    return answer.text if answer.ok else ""


def _watch_from_outside(layout: Layout) -> None:
    """Start the process that opens the browser. It leaves our family at once: it is nobody's child to wait for."""
    subprocess.run(
        [sys.executable, "-m", "modules.launcher.browser", str(layout.run_file), str(os.getpid()), str(time.time())],
        cwd=layout.root, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def _serve_as_child(command: Sequence[str], layout: Layout, browser: bool) -> int:
    def leave_it_to_the_server(number: int, frame: FrameType | None) -> None:
        """The console has told the server too; we only wait for it to end."""

    signal.signal(signal.SIGINT, leave_it_to_the_server)
    child = subprocess.Popen(list(command))
    if browser:
        # The child's own number is that of the environment's stub, not of the Python it starts: not checked.
        started = time.time()
        threading.Thread(target=open_when_ready, args=(Path(layout.run_file), 0, started), daemon=True).start()
    while True:
        try:
            return child.wait(1.0)
        except subprocess.TimeoutExpired:
            continue

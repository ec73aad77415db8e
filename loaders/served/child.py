"""A server as a child process of the worker: its log, its signs of life, its end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

PARENT_WATCH = Path(__file__).with_name("parent_watch.py")
TAIL = 400
"""Lines of the log that are kept to tell why it ended."""
_ENDS = re.compile(rb"[\r\n]")
_OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__")
"""What belongs to our environment and would mislead a program of another one."""


class ServerChild:
    """Started by `start`; what it prints goes to the worker's log line by line, without its key."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], secret: str, folder: str) -> None:
        self.lines: deque[str] = deque(maxlen=TAIL)
        self.count = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._secret = secret
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start it, in the worker's own process group: whoever ends the worker's group ends it too. Raises OSError."""
        command = self._command
        if sys.platform != "win32":
            command = [sys.executable, "-I", str(PARENT_WATCH), str(os.getpid()), *command]
        kept = {name: value for name, value in os.environ.items() if name not in _OURS}
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self._folder, env={**kept, **self._environment},
        )  # fmt: skip
        if self._process.stdout is not None:
            self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True, name="log")
            self._reader.start()

    def _read(self, pipe: IO[bytes]) -> None:
        rest = b""
        while data := os.read(pipe.fileno(), 1 << 16):
            *lines, rest = _ENDS.split(rest + data)  # progress bars end their lines with \r
            for line in lines:
                self._line(line)
            if len(rest) > 1 << 16:
                self._line(rest)
                rest = b""
        self._line(rest)
        pipe.close()

    def _line(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace").rstrip()
        if not text:
            return
        if self._secret:
            text = text.replace(self._secret, "…")
        self.lines.append(text)
        self.count += 1
        with contextlib.suppress(OSError):  # a full disk; whoever stopped reading here would stop the server
            print(text, file=sys.stderr, flush=True)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def ended(self) -> int | None:
        """Its exit code as subprocess has it, None while it runs; its last lines have been read then."""
        code = None if self._process is None else self._process.poll()
        if code is not None and self._reader is not None:
            self._reader.join(2)
        return code

    def wait(self) -> int:
        """Wait for its end."""
        if self._process is None:
            return 0
        self._process.wait()
        return self.ended() or 0

    def busy_seconds(self) -> float:
        """Processor time it and its children have used; grows while it does anything."""
        try:
            whole = psutil.Process(self.pid)
            times = [one.cpu_times() for one in (whole, *whole.children(recursive=True))]
        except psutil.Error:
            return 0.0
        return sum(one.user + one.system for one in times)

    def stop(self) -> None:
        """End it and its children."""
        if self._process is None or self._process.poll() is not None:
            return
        try:
            tree = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            tree = []
        for one in tree:
            try:
                one.send_signal(signal.SIGTERM)
            except psutil.Error:
                continue
        _, alive = psutil.wait_procs(tree, timeout=3)
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

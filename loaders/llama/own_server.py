"""A person's own llama-server in place of the bundled engine: started here, watched, and ended with this worker."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from loaders.llama.flags import arguments, known_flags
from loaders.llama.launch import Launch
from loaders.llama.probe_http import free_port, props, status
from modules.errors import LoadFailed

HELP_TIMEOUT = 60.0
_TICK = 0.2
_PARENT_WATCH = Path(__file__).with_name("parent_watch.py")


@dataclass(slots=True)
class OwnServer:
    """One that runs. `missing` are the settings it does not know, `known` all its flags."""

    child: subprocess.Popen[bytes]
    address: str
    name: str
    known: Mapping[str, bool]
    missing: list[str]
    _closing: bool = False

    def close(self) -> None:
        """End it: first asked, then made to."""
        self._closing = True
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def watch(self) -> None:
        """From now on its end is this process's end, in the same way, so that the reason is told."""
        threading.Thread(target=self._mourn, name="llama-server", daemon=True).start()

    def _mourn(self) -> None:
        code = self.child.wait()
        if self._closing:
            return
        print(f"{self.name} ended with exit code {code}", file=sys.stderr, flush=True)
        if code < 0 and sys.platform != "win32":
            os.kill(os.getpid(), -code)
            time.sleep(1)  # it may reach another thread, a moment later
        os._exit(code or 1)


def start(launch: Launch, command: str, key: str, progress: Callable[[float, str], None]) -> OwnServer:
    """Start it and wait until it serves. Raises LoadFailed; then nothing of it is left."""
    words = command_words(command)
    name = Path(words[0]).name
    progress(0.02, f"asking {name} what it can")
    known = known_flags(_help(words))
    if "--model" not in known:
        raise LoadFailed(f"{words[0]} is no llama-server: its --help does not name --model.",
                         hint="Set llama_server to the program, or leave it empty for the bundled engine.")  # fmt: skip
    port = free_port()
    more, missing = arguments(launch, port, known)
    if launch.slots:
        Path(launch.slots).mkdir(parents=True, exist_ok=True, mode=0o700)
    line = [sys.executable, "-I", str(_PARENT_WATCH), str(os.getpid()), *words, *more]
    environment = {**os.environ, "LLAMA_API_KEY": key}  # not on the command line, which every user of the machine sees
    child = subprocess.Popen(line, stdin=subprocess.PIPE, env=environment)
    server = OwnServer(child, f"http://127.0.0.1:{port}", name, known, missing)
    try:
        _wait(server, launch, key, progress)
        if status(server.address, "/props", "") != 401:
            raise LoadFailed(f"{name} answers without the key it was given, so everybody on this machine could use it.",
                             hint="Use a llama-server that reads LLAMA_API_KEY.")  # fmt: skip
    except BaseException:
        server.close()
        raise
    server.watch()
    return server


def notes(server: OwnServer) -> list[str]:
    """What this llama-server does not do of what was set."""
    found: list[str] = []
    if server.missing:
        names = ", ".join(server.missing)
        found.append(f"{server.name} does not know these settings, so they have no effect: {names}.")
    if "--kv-unified" not in server.known:
        found.append("Each of the parallel requests gets its share of the context; set parallel to 1 for all of it.")
    return found


def command_words(command: str) -> list[str]:
    """The program and the arguments a person gave with it. Raises LoadFailed when it is not there."""
    whole = os.path.expanduser(command.strip())
    try:
        words = [whole] if os.path.isfile(whole) else shlex.split(command)
    except ValueError as error:
        raise LoadFailed(f"llama_server is {command!r}, and that cannot be read: {error}.") from None
    program = shutil.which(os.path.expanduser(words[0])) if words else None
    if program is None:
        raise LoadFailed(
            f"llama_server names {words[0] if words else command!r}, and there is no such program.",
            hint="Give the path of an executable file in settings.yaml or with --llama-server.",
        )
    return [os.path.abspath(program), *words[1:]]


def _help(words: list[str]) -> str:
    try:
        done = subprocess.run([words[0], "--help"], capture_output=True, timeout=HELP_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadFailed(f"{words[0]} cannot be run: {error}") from None
    return (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")


def _wait(server: OwnServer, launch: Launch, key: str, progress: Callable[[float, str], None]) -> None:
    """Until it answers; the supervisor gives up when nothing moves any more."""
    size = max(1, os.path.getsize(launch.path))
    told = 0.0
    while True:
        if (code := server.child.poll()) is not None:
            raise RuntimeError(f"{server.name} ended with exit code {code}")  # the reason is in its log
        if status(server.address, "/health", key) == 200 and props(server.address, key):
            return
        fraction = min(0.95, 0.03 + 0.92 * _resident(server.child.pid) / size)
        if fraction - told > 0.01:
            told = fraction
            progress(fraction, "loading the model")
        time.sleep(_TICK)


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0

"""Starts a server for a model, waits until it is ready, and ends the worker when the server ends."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders.base import Feature, LoadRequest
from loaders.served import load_errors
from loaders.served.backend import EndpointBackend
from loaders.served.child import ServerChild
from loaders.served.probe import Address, ServerFacts, probe
from loaders.served.probe_http import ProbeHttp, Unanswered
from loaders.served.server_kinds import FLAVOURS
from modules.errors import LoadFailed
from modules.types import Endpoint, EngineInfo

Progress = Callable[[float, str], None]
LOOK = 0.25
WORK = 2.0
"""Seconds between two looks: at the log and the address, and at the processor time."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A line of the log that tells how far loading is: from `start` to `end` by the percent in its first group."""

    words: str
    start: float
    end: float
    says: str


@dataclass(frozen=True, slots=True)
class Served:
    """One kind of server.

    title     what people call it
    program   what is looked for beside our Python and on the PATH
    install   the lines that install it
    """

    title: str
    flavour: str
    program: str
    install: str
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """How one server is started.

    arguments  after the program, with the place for its port and key already filled in
    slots      replies it writes at the same time
    adapters   names of its adapters
    less       features this model does not have
    context    tokens one request may use, where the server itself does not tell
    """

    arguments: tuple[str, ...]
    slots: int
    environment: Mapping[str, str] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    missing_features: frozenset[Feature] = frozenset()
    context: int = 0


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Where a server is to listen, and its key."""

    port: int
    key: str = field(repr=False)
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def find_program(served: Served) -> str:
    """The program's place. Raises LoadFailed with the lines that install it."""
    beside = shutil.which(served.program, path=str(Path(sys.executable).parent))
    found = beside or shutil.which(served.program)
    if found is None:
        raise LoadFailed(f"{served.title} is not installed: there is no program called {served.program}.",
                         hint=f"Install it, and start this program with its folder on the PATH: {served.install}",
                         code="engine_not_installed")  # fmt: skip
    return found


def serve(
    request: LoadRequest, progress: Progress, served: Served, plan: Callable[[BindAddress], LaunchPlan]
) -> EndpointBackend:
    """Start the server and wait for it. Raises LoadFailed with the reason out of its log."""
    program = find_program(served)
    address = BindAddress(_free_port(), secrets.token_urlsafe(32))
    start = plan(address)
    folder = request.scratch if os.path.isdir(request.scratch) else tempfile.gettempdir()
    child = ServerChild((program, *start.arguments), {**_ENVIRONMENT, **start.environment}, address.key, folder)
    progress(0.02, f"starting {served.title}")
    try:
        child.start()
    except OSError as error:
        raise LoadFailed(f"{served.title} cannot be started: {error.strerror}.", hint=served.install) from error
    try:
        found = _wait(child, address, served, progress)
    except BaseException:
        child.stop()
        raise
    threading.Thread(target=_end_with, args=(child, served.title), daemon=True, name="server's end").start()
    progress(1.0, "ready")
    return EndpointBackend(_info(request, served, start, address, found), child.stop)


_ENVIRONMENT: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1", "TLLM_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1",
    "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost",
}  # fmt: skip
"""No server of ours asks the internet for anything, or tells it anything."""


def _free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def _wait(child: ServerChild, address: BindAddress, served: Served, progress: Progress) -> ServerFacts:
    """Until it answers. Whoever waits for us sees progress only while there is some: a line, or work being done."""
    asker = ProbeHttp(address.url, address.key, timeout=5.0)
    seen = worked = 0.0
    fraction, says, looked = 0.02, f"starting {served.title}", 0.0
    while True:
        if (code := child.ended()) is not None:
            raise load_errors.load_failed(served.title, code, list(child.lines))
        moved = child.count != seen
        seen = child.count
        if moved:
            fraction, says = _stage(list(child.lines), served.stages, fraction, says)
        now = time.monotonic()
        if now - looked > WORK:
            looked, spent = now, child.busy_seconds()
            moved, worked = moved or spent > worked + 0.01, spent
        if moved:
            progress(fraction, says)
        if _answers(address, FLAVOURS[served.flavour].health):
            try:
                return probe(asker, Address(address.url, "/v1"), served.flavour, "")
            except Unanswered as error:
                raise LoadFailed(f"{served.title} started, but {error}.", hint="Update it.") from error
        time.sleep(LOOK)


def _answers(address: BindAddress, path: str) -> bool:
    """Whether its health route says yes. Some answer it without a body, so only the status counts."""
    try:
        with socket.create_connection((address.host, address.port), timeout=2) as line:
            line.settimeout(10)
            head = (
                f"GET {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nAuthorization: Bearer {address.key}\r\n"
            )
            line.sendall(f"{head}Connection: close\r\n\r\n".encode())
            return line.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def _stage(lines: list[str], stages: tuple[Stage, ...], fraction: float, says: str) -> tuple[float, str]:
    """The furthest stage the newest lines tell of."""
    for line in lines[-40:]:
        for stage in stages:
            if match := re.search(stage.words, line):
                share = float(match.group(1)) / 100 if match.groups() and match.group(1) else 0.0
                reached = stage.start + (stage.end - stage.start) * min(1.0, share)
                if reached >= fraction:
                    fraction, says = reached, stage.says
    return fraction, says


def _end_with(child: ServerChild, title: str) -> None:
    """A server that ends takes its worker along: its exit is what the worker's owner looks at."""
    code = child.wait()
    print(f"{title} ended (exit code {code}).", file=sys.stderr, flush=True)
    if code < 0 and sys.platform != "win32":
        if -code != signal.SIGKILL:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        os.kill(os.getpid(), -code)
        time.sleep(1)
    os._exit(code if code > 0 else 1)


def _info(
    request: LoadRequest, served: Served, start: LaunchPlan, address: BindAddress, found: ServerFacts
) -> EngineInfo:
    features = found.features - start.missing_features - {Feature.LORA}
    features |= {Feature.LORA} if start.adapters else set()
    return EngineInfo(
        model=request.model,
        loader=request.loader,
        context=found.context or start.context,
        slots=start.slots,
        endpoint=Endpoint(address.url, address.key, served.flavour, model=found.model),
        details={"engine": served.title, **found.facts, **start.details},
        renders_templates=False,
        adapters=dict.fromkeys(start.adapters, 0.0),
        features=tuple(sorted(str(feature) for feature in features)),
    )

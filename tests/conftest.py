"""A real server process for tests: `server` starts one, `shared_server` is one for the whole session."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.conformance_table import ConformanceTable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90.0
ECHO = "echo"
BROWSER_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    # What Playwright turns off as well, as of two such flags the last one counts, and the suggestions below the address
    # bar: a page of Chromium's own, made anew for each of ours, that costs nearly half as much as ours to open.
    "--disable-features=" + ",".join((
        "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable",
        "HttpsUpgrades", "LensOverlay", "MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints",
        "PaintHolding", "PreconnectToSearch", "ThirdPartyStoragePartitioning", "Translate",
        "AimEnabled", "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup",
    )),
]  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """In the background of a shell, or under nohup, the suite inherits ignored signals; what it starts shall not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)  # still ignored here, and not inherited
    config.pluginmanager.register(ConformanceTable(), "conformance-table")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """The processes that share the suite must give each test one name: bytes may hold the time they were made at."""
    return argname if isinstance(val, bytes) else None


@dataclass
class LiveServer:
    """A running `python server.py`. `out` collects what it prints.

    echo model: `server.load_echo()`; a chat turn: `server.chat("text")`.
    """

    proc: subprocess.Popen[bytes]
    user_data: Path
    out: Path
    base_url: str = ""
    key: str = ""
    clients: list[httpx.Client] = field(default_factory=list)

    @property
    def http(self) -> httpx.Client:
        """A client with the server's address, and its key when it has one."""
        if not self.clients:
            headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
            self.clients.append(httpx.Client(base_url=self.base_url, headers=headers, timeout=30))
        return self.clients[0]

    def call(self, method: str, path: str, json: Any = None, status: int | None = None) -> Any:
        """One JSON request; any status of 400 or more fails the test unless it is the one expected."""
        answer = self.http.request(method, path, json=json)
        if status is None:
            assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        else:
            assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def load_echo(self, **settings: Any) -> None:
        """Load the echo engine and wait until it is ready."""
        self.call("POST", "/api/models/load?wait=1", {"name": ECHO, "settings": settings})

    def chat(self, text: str, chat: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Send a message to a chat (a new one without `chat`): the chat as it was, and the turn's answer."""
        chat = chat or self.call("POST", "/api/chats", {})
        body = {"parent": chat["leaf"], "text": text, "rev": chat["rev"]}
        return chat, self.call("POST", f"/api/chats/{chat['id']}/messages", body)

    def events(self, chat: str, reply: str, start: int = 0) -> list[dict[str, Any]]:
        """Every event of a reply, to its end."""
        return list(self.follow(chat, reply, start))

    def follow(self, chat: str, reply: str, start: int = 0) -> Iterator[dict[str, Any]]:
        """The events of a reply as they come."""
        with self.http.stream("GET", f"/api/chats/{chat}/replies/{reply}?from={start}") as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def stop(self, sig: int = signal.SIGTERM, within: float = 30) -> int:
        """End it and return its exit code."""
        for client in self.clients:
            client.close()
        self.clients.clear()
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        return self.proc.wait(within)


Start = Callable[..., LiveServer]


def start_server(user_data: Path, *flags: str, ui: bool = False, env: dict[str, str] | None = None) -> LiveServer:
    """Start a server over `user_data` on a free port and wait until it answers."""
    user_data.mkdir(parents=True, exist_ok=True)
    run_file, out = user_data / "run.json", user_data / "server.out"
    run_file.unlink(missing_ok=True)
    command = [sys.executable, "server.py", "--port", "0", "--user-data-dir", str(user_data), *flags]
    with open(out, "ab") as sink:
        proc = subprocess.Popen(
            command if ui else [*command, "--no-ui"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink,
            stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **(env or {})},
        )  # fmt: skip
    live = LiveServer(proc, user_data, out)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and proc.poll() is None:
        with contextlib.suppress(OSError, ValueError, KeyError, httpx.TransportError):
            live.base_url = json.loads(run_file.read_text())["url"]
            if httpx.get(live.base_url + "/health", timeout=5).status_code in (200, 401):
                return live
        time.sleep(0.02)
    if proc.poll() is None:
        proc.kill()
        proc.wait()
    raise AssertionError(f"the server did not start:\n{out.read_text(errors='replace')}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Start]:
    """`server(*flags, ui=False, user_data=None, env=None)` starts one; all are ended after the test."""
    started: list[LiveServer] = []

    def start(*flags: str, user_data: Path | None = None, key: str = "", **more: Any) -> LiveServer:
        live = start_server(user_data or tmp_path / "user_data", *flags, **more)
        live.key = key
        started.append(live)
        return live

    yield start
    for live in started:
        _end(live)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server with the echo engine loaded, for tests that leave it as it was."""
    with running_server(tmp_path_factory.mktemp("shared")) as live:
        live.load_echo()
        yield live


@contextlib.contextmanager
def running_server(user_data: Path, *flags: str, **more: Any) -> Iterator[LiveServer]:
    """A server for the length of a block."""
    live = start_server(user_data, *flags, **more)
    try:
        yield live
    finally:
        _end(live)


def _end(live: LiveServer) -> None:
    try:
        live.stop()
    except subprocess.TimeoutExpired:
        live.proc.kill()
        live.proc.wait()
        raise


@pytest.fixture
def anyio_backend() -> str:
    """Async tests (`@pytest.mark.anyio`) run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium: the system's, else Playwright's own.

    Here and not twice, because Playwright allows one at a time; for a module and not for the session, because
    while it runs the thread has a running event loop, and no other test could start one.
    """
    from playwright.sync_api import sync_playwright

    if why := os.environ.get("ENGINEHOUSE_NO_CHROMIUM"):
        pytest.skip(why)  # `start.py test` has looked for one and found no way to get it
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield browser
        browser.close()

"""Opening a browser: when, where, and when not."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from modules.launcher.browser import address, open_when_ready
from modules.launcher.serve import browser_wanted

DESKTOP = {"DISPLAY": ":0"}


def write_run(path: Path, url: str = "http://localhost:7861", pid: int = 42) -> None:
    path.write_text(json.dumps({"url": url, "port": 7861, "pid": pid}))


@pytest.mark.parametrize(
    ("asked", "rest", "environ", "platform", "expected"),
    [
        (True, (), DESKTOP, "linux", True),
        (True, (), {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        (True, (), {}, "linux", False),
        (True, (), {}, "darwin", True),
        (True, (), {}, "win32", True),
        (False, (), DESKTOP, "linux", False),
        (True, ("--no-ui",), DESKTOP, "linux", False),
        (True, (), DESKTOP | {"CI": "true"}, "linux", False),
        (True, (), {"SSH_CONNECTION": "1.2.3.4"}, "darwin", False),
        (True, (), DESKTOP | {"SSH_TTY": "/dev/pts/0"}, "linux", False),
    ],
)
def test_a_browser_is_opened_only_where_a_person_sees_it(
    asked: bool, rest: tuple[str, ...], environ: dict[str, str], platform: str, expected: bool
) -> None:
    chosen = browser_wanted(asked, rest, environ, platform)
    assert chosen.value is expected
    assert chosen.why


def test_the_address_is_read_from_a_fresh_file_of_the_right_server(tmp_path: Path) -> None:
    run_file = tmp_path / "run.json"
    now = time.time()
    assert address(run_file, 42, now) == ""
    write_run(run_file)
    assert address(run_file, 42, now) == "http://localhost:7861"
    assert address(run_file, 0, now) == "http://localhost:7861"
    assert address(run_file, 43, now) == ""  # another server's
    os.utime(run_file, (now - 60, now - 60))
    assert address(run_file, 42, now) == ""  # a former server's


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "http://x"}', '{"url": "http://x", "pid": "?"}'])
def test_a_run_file_that_is_half_written_is_waited_for(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert address(tmp_path / "run.json", 0, 0.0) == ""


@pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:alert(1)", "-private-window"])
def test_nothing_but_a_web_address_is_handed_to_the_desktop(tmp_path: Path, url: str) -> None:
    write_run(tmp_path / "run.json", url)
    assert address(tmp_path / "run.json", 0, 0.0) == ""


def test_the_browser_is_opened_once_the_server_says_where_it_is(tmp_path: Path) -> None:
    shown: list[str] = []
    pid = os.getpid()
    threading.Timer(0.4, write_run, (tmp_path / "run.json", "http://localhost:7861", pid)).start()
    assert open_when_ready(tmp_path / "run.json", pid, time.time(), lambda url: not shown.append(url), 60)
    assert shown == ["http://localhost:7861"]


def test_waiting_ends_when_the_server_is_gone_or_says_nothing(tmp_path: Path) -> None:
    shown: list[str] = []
    begun = time.monotonic()
    gone = 2**22 + 1  # above the largest process number of Linux
    assert not open_when_ready(tmp_path / "run.json", gone, time.time(), lambda url: not shown.append(url), 100)
    assert not open_when_ready(tmp_path / "run.json", 0, time.time(), lambda url: not shown.append(url), 0.3)
    assert time.monotonic() - begun < 50
    assert shown == []

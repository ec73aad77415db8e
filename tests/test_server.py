"""The server as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import ROOT, LiveServer, Start


def run_to_the_end(*flags: str, seconds: float = 90) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "server.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)


def workers_of(live: LiveServer) -> list[psutil.Process]:
    return psutil.Process(live.proc.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process], within: float = 20.0) -> bool:
    _, alive = psutil.wait_procs(processes, within)
    return not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for a condition; 30 s in vain fail the test."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def test_it_says_where_it_is_and_takes_that_back_at_the_end(server: Start) -> None:
    live = server()
    facts = json.loads((live.user_data / "run.json").read_text())
    assert set(facts) == {"url", "port", "pid", "started"}
    assert facts["pid"] == live.proc.pid
    assert facts["url"] == f"http://localhost:{facts['port']}"
    assert live.stop() == 0
    assert not (live.user_data / "run.json").exists()
    said = live.out.read_text()
    assert facts["url"] in said
    assert "Traceback" not in said


def test_a_second_server_on_the_same_folder_names_the_first_and_ends(server: Start) -> None:
    live = server()
    second = run_to_the_end("--no-ui", "--port", "0", "--user-data-dir", str(live.user_data))
    assert second.returncode == 1
    assert f"process {live.proc.pid}" in second.stderr
    assert "Traceback" not in second.stderr + second.stdout
    assert httpx.get(live.base_url + "/health").json() == {"status": "ok"}
    assert json.loads((live.user_data / "run.json").read_text())["pid"] == live.proc.pid


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_taken_port_is_left_and_the_next_one_announced(server: Start, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as other:
        other.bind((host, 0))
        other.listen()
        taken = other.getsockname()[1]
        live = server("--port", str(taken))
        assert not live.base_url.endswith(f":{taken}")
        assert f"Port {taken} is taken, using {live.base_url.rpartition(':')[2]}." in live.out.read_text()


def test_an_address_that_is_not_ours_is_refused_with_a_sentence(tmp_path: Path) -> None:
    ended = run_to_the_end("--no-ui", "--host", "192.0.2.1", "--api-key", "k", "--user-data-dir", str(tmp_path))
    assert ended.returncode == 1
    assert "192.0.2.1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_flag_ends_quickly_with_a_sentence() -> None:
    ended = run_to_the_end("--prot", "8000")
    assert ended.returncode == 2
    assert "--port" in ended.stderr


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order_and_the_running_reply_is_saved(server: Start, tmp_path: Path, sig: int) -> None:
    live = server(user_data=tmp_path / "kept")
    live.load_echo(speed=50, tokens=5000)
    chat, turn = live.chat("x")
    seen = [event for _, event in zip(range(40), live.follow(chat["id"], turn["reply"]["id"]), strict=False)]
    text = "".join(event.get("t", "") for event in seen)
    workers = workers_of(live)
    assert workers
    assert live.stop(sig, within=30) == 0
    assert all_gone(workers)
    assert "Traceback" not in live.out.read_text()
    again = server(user_data=tmp_path / "kept")
    node = again.call("GET", f"/api/chats/{chat['id']}")["messages"][-1]
    assert node["state"] == "stopped"
    assert node["text"].startswith(text)
    assert len(text) > 50


def test_open_streams_and_pages_do_not_hold_up_the_end(server: Start) -> None:
    from websockets.sync.client import connect

    live = server()
    live.load_echo(speed=20, tokens=5000)
    chat, turn = live.chat("x")
    stream = live.follow(chat["id"], turn["reply"]["id"])
    next(stream)
    with connect(live.base_url.replace("http", "ws") + "/api/events") as page:
        page.recv(20)
        live.proc.send_signal(signal.SIGTERM)
        rest = list(stream)
        assert rest[-1]["done"]["reason"] == "cancelled"
        assert live.proc.wait(30) == 0  # the reply alone would take minutes


def test_a_second_ctrl_c_ends_it_at_once_and_no_worker_stays(server: Start) -> None:
    live = server()
    live.load_echo(speed=20, tokens=5000)
    chat, turn = live.chat("x")
    stream = live.follow(chat["id"], turn["reply"]["id"])
    next(stream)
    workers = workers_of(live)
    for worker in workers:
        worker.suspend()  # it does not end when asked, so that the orderly end takes seconds
    live.proc.send_signal(signal.SIGINT)
    assert list(stream)[-1]["done"]["reason"] == "cancelled"  # the orderly end has begun
    live.proc.send_signal(signal.SIGINT)
    assert live.proc.wait(30) == 130
    assert not (live.user_data / "run.json").exists()
    assert all_gone(workers)


def test_listening_without_a_key_makes_one_prints_it_and_asks_for_it_everywhere(server: Start) -> None:
    live = server("--listen")
    key = re.search(r"Key: (\S{20,})", live.out.read_text())
    assert key
    for path in ("/", "/health", "/api/state", "/v1/models", "/docs", "/openapi.json", "/web/main.js", "/api/events"):
        assert httpx.get(live.base_url + path).status_code == 401, path
    assert httpx.get(live.base_url + "/login").status_code == 200
    allowed = httpx.get(live.base_url + "/api/state", headers={"authorization": f"Bearer {key[1]}"})
    assert allowed.status_code == 200
    assert key[1] not in allowed.text
    assert key[1] not in (live.user_data / "logs" / "server.log").read_text()


def test_the_login_page_trades_the_key_for_a_cookie(server: Start) -> None:
    live = server("--api-key", "the key of this test", key="the key of this test")
    with httpx.Client(base_url=live.base_url) as browser:
        assert browser.post("/login", json={"key": "wrong"}).status_code == 401
        assert browser.post("/login", json={"key": None}).status_code == 400
        assert browser.get("/api/state").status_code == 401
        answer = browser.post("/login", data={"key": "the key of this test"})
        assert answer.status_code == 200
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert browser.get("/api/state").status_code == 200
        refused = browser.post("/api/chats", json={}, headers={"origin": "https://evil.example"})
        assert refused.status_code == 403


def test_a_model_of_the_settings_is_loaded_at_the_start_and_a_wrong_one_only_told(
    server: Start, tmp_path: Path
) -> None:
    live = server("--model", "echo")
    wait_until(lambda: live.call("GET", "/api/state")["model"]["state"] == "ready")
    other = server("--model", "nothing-like-this", user_data=tmp_path / "other")
    wait_until(lambda: "nothing-like-this" in other.out.read_text())
    assert other.call("GET", "/api/state")["model"]["state"] == "empty"


def test_health_answers_while_the_page_is_imported_which_opens_also_with_proxies_of_no_use(server: Start) -> None:
    """httpx, which Gradio makes a client of at its import, raises for each of these three."""
    proxies = {"all_proxy": "socks5://127.0.0.1:9", "HTTPS_PROXY": "socks://127.0.0.1:9", "no_proxy": "::1,fd00::/8"}
    live = server(ui=True, env=proxies)
    get, post = functools.partial(httpx.get, timeout=30), functools.partial(httpx.post, timeout=30)
    first = get(live.base_url + "/")
    if first.status_code == 503:
        assert 'http-equiv="refresh"' in first.text
        assert first.headers["retry-after"] == "1"
    deadline = time.monotonic() + 120
    while get(live.base_url + "/").status_code == 503:
        assert time.monotonic() < deadline
        assert get(live.base_url + "/health").status_code == 200
        time.sleep(0.1)
    page = get(live.base_url + "/")
    assert page.status_code == 200
    assert "gradio" in page.text
    assert page.headers["x-frame-options"] == "DENY"
    wrong = get(live.base_url + "/api/nothing")
    assert wrong.json()["error"]["code"] == "not_found"
    foreign = {"origin": "https://evil.example"}
    assert post(live.base_url + "/gradio_api/queue/join", json={}, headers=foreign).status_code == 403
    own = {"origin": live.base_url}
    assert post(live.base_url + "/gradio_api/queue/join", json={}, headers=own).status_code != 403
    assert live.stop() == 0
    assert "Traceback" not in live.out.read_text()
    assert "Ignored proxy settings that cannot be used: " in live.out.read_text()


def test_every_browser_file_comes_with_its_type_and_is_kept_for_ever_under_its_version(
    shared_server: LiveServer,
) -> None:
    get = shared_server.http.get
    plain = get("/web/main.js")
    assert plain.status_code == 200
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.headers["cache-control"] == "no-cache"
    for address in ("/web/~abc/main.js", "/web/main.js?v=abc"):
        assert "immutable" in get(address).headers["cache-control"]
    for address in (
        "/web/../app.py",
        "/web/%2e%2e/%2e%2e/app.py",
        "/web/~a/../../app.py",
        "/web/nothing.js",
        "/web/",
        "/web/~",
    ):
        assert get(address).status_code == 404, address


def test_the_routes_are_described_without_help_from_another_host(shared_server: LiveServer) -> None:
    schema = shared_server.call("GET", "/openapi.json")
    assert "/api/chats/{chat_id}/messages" in schema["paths"]
    docs = shared_server.http.get("/docs").text
    assert "/api/chats/{chat_id}/messages" in docs
    assert not re.findall(r"(?:src|href)=.https?://", docs)


def test_importing_the_server_takes_less_than_half_a_second() -> None:
    code = "import time; a = time.process_time(); import server; print(time.process_time() - a)"
    times: list[float] = []
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
        times.append(float(ended.stdout))
    assert min(times) < 0.5


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run_to_the_end("--no-ui", "--user-data-dir", str(tmp_path / "file" / "below"))
    assert ended.returncode == 1
    assert "--user-data-dir" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_endpoint_of_an_engine_and_the_key_never_leave_the_server(server: Start) -> None:
    live = server("--api-key", "s3cret-key-of-this-test", key="s3cret-key-of-this-test")
    live.load_echo()
    answers: list[Any] = [
        live.call("GET", path) for path in ("/api/state", "/api/models", "/api/params", "/openapi.json")
    ]
    text = json.dumps(answers)
    assert "s3cret" not in text
    assert '"endpoint"' not in json.dumps(answers[:3])
    assert os.path.join(str(live.user_data), "models") in text  # the folder people put models into is told

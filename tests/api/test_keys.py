"""The outermost layer, in process: who has to show a key, and how, WebSockets too."""

from __future__ import annotations

from typing import Any

import pytest

from modules.api.auth import Auth
from tests.api.guarding import COOKIE, KEY, ask, guard, open_socket

# ── keys ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/web/main.js", "/api/state", "/v1/models", "/health",
                                  "/gradio_api/info", "/config", "/login/", "/Login", "//login"])  # fmt: skip
def test_no_route_but_login_is_open_when_a_key_is_set(path: str) -> None:
    answer = ask(guard(KEY), path=path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}, {"x-api-key": KEY}]
)
def test_the_key_opens_by_either_header(headers: dict[str, str]) -> None:
    assert ask(guard(KEY), headers=headers).status_code == 200


@pytest.mark.parametrize("key", ["schlüssel", "voilà", "ключ", "鍵🔑"])
def test_a_key_beyond_ascii_opens_by_header_as_it_does_by_login(key: str) -> None:
    guarded = guard(key)
    for name, value in ((b"authorization", f"Bearer {key}"), (b"x-api-key", key)):
        headers: Any = {name: value.encode(), b"host": b"localhost"}
        assert ask(guarded, headers=headers).status_code == 200
        headers[name] = value.encode() + b"x"
        assert ask(guarded, headers=headers).status_code == 401
    assert Auth(key).is_key(key)


def test_a_key_of_western_letters_may_be_sent_as_latin_1() -> None:
    headers: Any = {b"authorization": "Bearer schlüssel".encode("latin-1"), b"host": b"localhost"}
    assert ask(guard("schlüssel"), headers=headers).status_code == 200


@pytest.mark.parametrize("given", ["", "wrong", KEY + "x", KEY[:-1], "ключ", "\xff"])
def test_a_wrong_key_does_not(given: str) -> None:
    raw = f"Bearer {given}".encode()
    assert ask(guard(KEY), headers={b"authorization": raw, b"host": b"localhost"}).status_code == 401  # type: ignore[dict-item]


def test_a_session_cookie_opens_and_a_forged_or_old_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = Auth(KEY)
    good = auth.new_session()
    assert ask(guard(KEY), headers={"cookie": f"a=b; {COOKIE}={good}; c"}).status_code == 200
    expires, nonce, signature = good.split(".")
    forged = [f"{int(expires) + 1}.{nonce}.{signature}", f"{expires}.{nonce}.{'0' * 64}", "", ".", "..", KEY, good[:-1]]
    for value in forged:
        assert ask(guard(KEY), headers={"cookie": f"{COOKIE}={value}"}).status_code == 401, value
    assert not Auth("another key").is_session(good)
    monkeypatch.setattr("modules.api.auth.SESSION_SECONDS", -1)
    assert not auth.is_session(auth.new_session())


def test_a_browser_without_a_key_is_shown_the_login_page() -> None:
    answer = ask(guard(KEY), path="/docs", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/docs"


# ── WebSockets ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "null"},
    ],
)
def test_a_websocket_of_another_site_is_not_opened(headers: dict[str, str]) -> None:
    assert open_socket(guard(), headers)[0]["type"] == "websocket.close"


def test_a_websocket_needs_the_key_too() -> None:
    assert open_socket(guard(KEY), {})[0]["type"] == "websocket.close"
    assert open_socket(guard(KEY), {}, "/gradio_api/x")[0]["type"] == "websocket.close"
    cookie = {"cookie": f"{COOKIE}={Auth(KEY).new_session()}"}
    assert open_socket(guard(KEY), {**cookie, "origin": "http://localhost:7860"})[0]["type"] == "websocket.accept"

"""The outermost layer, in process: who is let in, and what a body may be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from modules.api import bodies
from modules.api.auth import Auth
from modules.api.origins import OriginPolicy
from modules.api.security import Security

KEY = "a-key-of-the-tests"
COOKIE = Auth(KEY).cookie


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for everything behind the middleware: says what it got, and accepts every WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    body = await Request(scope, receive).body()
    await JSONResponse({"size": len(body), "path": scope["path"]})(scope, receive, send)


def guard(
    key: str = "", bind: str = "127.0.0.1", hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()
) -> Security:
    return Security(inner, OriginPolicy.of(bind, hosts, origins, bool(key)), Auth(key))


def ask(security: Security, method: str = "GET", path: str = "/api/x", **more: Any) -> httpx.Response:
    async def go() -> httpx.Response:
        headers = {"host": "localhost:7860", **more.pop("headers", {})}
        transport = httpx.ASGITransport(security, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:7860") as client:
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(go())


def open_socket(security: Security, headers: dict[str, str], path: str = "/api/events") -> list[dict[str, Any]]:
    """What the server says to a WebSocket upgrade with these headers."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in {"host": "localhost:7860", **headers}.items()]
    scope = {"type": "websocket", "path": path, "headers": raw, "query_string": b""}
    asyncio.run(security(scope, receive, send))
    return sent


# ── host names ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST:1", "localhost."]
)
def test_loopback_names_are_answered(host: str) -> None:
    assert ask(guard(), headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.168.1.5", "", "[::1", "a b", "0.0.0.0"]
)
def test_a_rebound_dns_name_is_refused_on_loopback(host: str) -> None:
    answer = ask(guard(), headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "host_not_allowed"


def test_a_server_that_listens_takes_addresses_but_no_foreign_names() -> None:
    listening = guard(KEY, bind="0.0.0.0")
    assert ask(listening, headers={"host": "192.168.1.5:7860", "x-api-key": KEY}).status_code == 200
    assert ask(listening, headers={"host": "evil.example:7860", "x-api-key": KEY}).status_code == 403


def test_an_allowed_host_is_answered() -> None:
    assert ask(guard(hosts=("workshop.local",)), headers={"host": "workshop.local:7860"}).status_code == 200


# ── origins ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:7860"},
        {"origin": "http://localhost:7860.evil.example"},
        {"origin": "file://"},
        {"origin": "http://localhost:99999999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_cannot_change_anything(method: str, headers: dict[str, str]) -> None:
    answer = ask(guard(), method, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "origin_not_allowed"


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://localhost:7860"}, {"origin": "http://localhost:7860", "sec-fetch-site": "same-origin"}],
)
def test_the_own_page_and_programs_without_an_origin_may(headers: dict[str, str]) -> None:
    assert ask(guard(), "POST", headers=headers).status_code == 200


def test_a_page_behind_a_proxy_with_an_allowed_name_may() -> None:
    proxied = guard(hosts=("chat.example.org",))
    assert ask(proxied, "POST", headers={"origin": "https://chat.example.org"}).status_code == 200


def test_another_program_on_an_allowed_host_is_still_another_site() -> None:
    named = guard(hosts=("workshop.local",))
    headers = {"host": "workshop.local:7860", "origin": "http://workshop.local:3000"}
    assert ask(named, "POST", headers=headers).status_code == 403


def test_another_port_of_an_allowed_name_is_another_site_also_when_asked_by_another_name() -> None:
    headers = {"host": "localhost:7860", "origin": "http://workshop.local:9999"}
    assert ask(guard(hosts=("workshop.local",)), "POST", headers=headers).status_code == 403
    assert open_socket(guard(hosts=("workshop.local",)), headers)[0]["type"] == "websocket.close"
    assert ask(guard(hosts=("workshop.local:8443",)), "POST", headers=headers).status_code == 403


def test_a_proxy_may_show_the_page_at_a_port_the_owner_named() -> None:
    headers = {"origin": "https://Workshop.local:9999"}
    assert ask(guard(hosts=("workshop.local:9999",)), "POST", headers=headers).status_code == 200
    assert ask(guard(hosts=("[fd00::5]",)), "POST", headers={"origin": "http://[fd00::5]"}).status_code == 200


def test_two_servers_on_one_host_keep_their_sessions_apart() -> None:
    assert Auth("one").cookie != Auth("another").cookie


def test_another_site_may_link_here_but_not_embed_or_fetch() -> None:
    assert ask(guard(), headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200
    assert ask(guard(), headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403


def test_cors_is_closed_and_opens_for_the_origins_set() -> None:
    page = {"origin": "https://friend.example", "sec-fetch-site": "cross-site"}
    assert "access-control-allow-origin" not in ask(guard(), headers=page).headers
    friendly = guard(origins=("https://friend.example/",))
    answer = ask(friendly, "POST", headers=page)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    asked = {**page, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    preflight = ask(friendly, "OPTIONS", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    assert ask(friendly, "POST", headers={"origin": "https://other.example"}).status_code == 403


def test_every_origin_is_allowed_only_together_with_a_key() -> None:
    page = {"origin": "https://any.example"}
    assert ask(guard(origins=("*",)), "POST", headers=page).status_code == 403
    assert ask(guard(KEY, origins=("*",)), "POST", headers={**page, "x-api-key": KEY}).status_code == 200


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


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────────


def post(body: bytes, kind: str = "application/json", path: str = "/api/x", **headers: str) -> httpx.Response:
    return ask(guard(), "POST", path, content=body, headers={"content-type": kind, **headers})


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    assert post(b" " * (bodies.LIMIT + 1)).status_code == 413
    assert post(b"{}", **{"content-length": "9" * 30}).status_code == 413
    assert post(b"{}", **{"content-length": "-5"}).status_code == 400


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_chunked_body_is_counted_while_it_comes(kind: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(22):
            yield b" " * (1024 * 1024)

    answer = ask(guard(), "POST", content=pieces(), headers={"content-type": kind})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx", "text/json"]
)
def test_a_body_that_is_not_marked_as_json_is_refused(kind: str) -> None:
    answer = post(b'{"a": 1}', kind)
    assert answer.status_code == 415
    assert post(b"key=x", "application/x-www-form-urlencoded", "/login").status_code == 200


@pytest.mark.parametrize(
    ("text", "depth"),
    [("1", 0), ("[]", 1), ('{"a": [{}]}', 3), ('"[[[["', 4), (r'["\"[[[["]', 5), ("[" * 64 + "]" * 64, 64)],
)
def test_short_json_is_never_taken_for_shallower_than_it_is(text: str, depth: int) -> None:
    assert bodies.depth_of(text.encode()) == depth


def test_brackets_inside_strings_do_not_count_in_long_json() -> None:
    text = json.dumps({"a": "[" * 1000, "b": '\\"[[' * 100, "c": [{"d": []}] * 50})
    assert bodies.depth_of(text.encode()) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 200_000,
        b'{"a":[' * 100_000,
        b'["' + b"\\\\" * 9 + b'",' + b"[" * 70 + b"]" * 70 + b"]",
        b"[[],[]," + b"[" * 64 + b"]" * 64 + b"]",
    ],
)
def test_deep_json_is_refused(body: bytes) -> None:
    answer = post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "json_too_deep"


def test_wide_json_and_depth_at_the_limit_pass() -> None:
    assert post(b"[" + b"[],{}," * 300_000 + b"1]").status_code == 200
    assert post(b"[[],[]," + b"[" * 63 + b"]" * 63 + b"]").status_code == 200


@pytest.mark.parametrize("body", [b'"\xff"', b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'["\\ud83d\\u0041"]'])
def test_text_that_cannot_be_saved_is_refused(body: bytes) -> None:
    answer = post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


def test_escaped_emoji_pass() -> None:
    assert post(b'{"a": "\\ud83d\\ude00 \\\\ud800"}').status_code == 200


# ── headers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("headers", [{}, {"host": "evil.example"}])
def test_every_answer_carries_the_security_headers(headers: dict[str, str]) -> None:
    found = ask(guard(), headers=headers).headers
    assert found["x-content-type-options"] == "nosniff"
    assert found["x-frame-options"] == "DENY"
    assert found["referrer-policy"] == "no-referrer"
    policy = found["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy

"""What anybody who reaches the port can make a connection cost, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from modules.api.headers import LARGEST_HEAD, SECURITY_HEADERS
from modules.api.http_head import GuardedHttp
from modules.api.serving import config

SOON = 0.4  # seconds until a connection without a request is closed in these tests
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n"


class Impatient(GuardedHttp):
    head_seconds = SOON


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers "ok"; at /slow only after more than SOON, in two pieces; accepts and closes WebSockets late."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(SOON * 2)
        await send({"type": "websocket.send", "text": "still here"})
        return
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"o", "more_body": True})
    if scope["path"] == "/slow":
        await asyncio.sleep(SOON * 2)
    await send({"type": "http.response.body", "body": b"k"})


@contextmanager
def serving(protocol: type[GuardedHttp] | None = None) -> Iterator[int]:
    settings = config(app)
    settings.lifespan = "off"
    if protocol is not None:
        settings.http = protocol
    server = uvicorn.Server(settings)
    bound = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()


def answer_to(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """All the server sends until it hangs up; fails after half a minute."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        got = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            while data := connection.recv(65536):
                got += data
        except (ConnectionResetError, BrokenPipeError):
            return got
    return got


@pytest.mark.parametrize(
    "endless",
    [
        GET + b"x: " + b"a" * 20 * LARGEST_HEAD,
        GET + b"x: a\r\n" * (20 * LARGEST_HEAD // 6),
        b"GET /" + b"a" * 20 * LARGEST_HEAD,
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: a\r\n" * 200_000,
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"a" * 1_500_000,
    ],
    ids=["one header", "many headers", "address", "trailers", "one trailer"],
)
def test_headers_without_end_are_cut_off(endless: bytes) -> None:
    with serving() as port:
        began = time.monotonic()
        got = answer_to(port, *(endless[at : at + 8192] for at in range(0, len(endless), 8192)))
        assert time.monotonic() - began < 20  # that it is late is noticed only after 30 s
        assert b"431" in got or got.startswith(b"HTTP/1.1 200") or got == b""


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (GET + b"x: " + b"a" * LARGEST_HEAD + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/9.9\r\nhost : x\r\n\r\n", 400, "invalid_http"),
    ],
)
def test_what_never_becomes_a_request_is_refused_like_any_other(sent: bytes, status: int, code: str) -> None:
    with serving() as port:
        head, _, body = answer_to(port, sent).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert first.startswith(f"HTTP/1.1 {status} ".encode())
    assert set(SECURITY_HEADERS) <= set(fields.items())
    assert fields[b"content-length"] == str(len(body)).encode()
    error = json.loads(body)["error"]
    assert (error["code"], error["status"], error["type"]) == (code, status, "invalid_request_error")
    assert error.keys() == {"message", "hint", "type", "code", "param", "status"}


def test_large_headers_within_the_limit_and_large_bodies_pass() -> None:
    with serving() as port:
        fields = b"x: " + b"a" * (LARGEST_HEAD - 1000) + b"\r\nconnection: close\r\n"
        assert answer_to(port, GET + fields + b"\r\n").endswith(b"ok")
        chunks = b"1\r\na\r\n" * 30_000 + b"0\r\n\r\n"
        post = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        assert answer_to(port, post, chunks).endswith(b"ok")


@pytest.mark.parametrize(
    "pieces", [(), (GET,), (b"\r\n",) * 8, (GET + b"\r\n", GET), (GET + b"\r\n",) + (b"\r\n",) * 8],
    ids=["nothing", "half a request", "empty lines", "half a second request", "empty lines after a request"],
)  # fmt: skip
def test_a_connection_without_a_whole_request_is_closed(pieces: tuple[bytes, ...]) -> None:
    took: list[float] = []
    with serving(Impatient) as port:
        while not took or (took[-1] >= SOON * 6 and len(took) < 3):  # other programs can only make it later
            began = time.monotonic()
            answer_to(port, *pieces, pause=SOON / 6)
            took.append(time.monotonic() - began)
    assert SOON * 0.9 < min(took) < SOON * 6


def test_a_reply_and_a_websocket_may_take_longer_than_a_request() -> None:
    with serving(Impatient) as port:
        slow = GET.replace(b"/ ", b"/slow ", 1) + b"connection: close\r\n\r\n"
        assert answer_to(port, slow).endswith(b"ok")
        upgrade = (
            b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(GET + upgrade)
            got = b""
            while b"still here" not in got:
                data = connection.recv(65536)
                assert data, "the WebSocket was closed"
                got += data


def test_without_httptools_the_plain_parser_has_the_same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modules.api.http_head", None)
    settings = config(app)
    assert (settings.http, settings.h11_max_incomplete_event_size) == ("h11", LARGEST_HEAD)

"""Clients that stop reading, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from modules.api.http_head import GuardedHttp
from modules.api.serving import config
from modules.api.slow_reader import UNREAD_SECONDS
from modules.web.sse import send_events

SOON = 1.0
REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Impatient(GuardedHttp):
    unread_seconds = SOON


class Endless:
    """Streams for ever; `ended` is set when the stream was closed, which is what cancels an engine."""

    def __init__(self) -> None:
        self.sent = 0
        self.ended = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def events():  # type: ignore[no-untyped-def]
            try:
                while True:
                    yield b"data: " + b"x" * 16_000 + b"\n\n"
                    self.sent += 1
                    await asyncio.sleep(0)
            finally:
                self.ended.set()

        await send_events(receive, send, events(), lambda error: (500, b""))


class Filling(asyncio.Transport):
    """A connection whose buffer holds what the test says."""

    size = 1000

    def __init__(self) -> None:
        super().__init__()
        self.gone = asyncio.Event()

    @property
    def aborted(self) -> bool:
        return self.gone.is_set()

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.gone.set()

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.gone.set()


class Clock:
    """Stands for the event loop as far as its clock goes: the time is up when the test says so."""

    def __init__(self) -> None:
        self.callback: Callable[[], None] = lambda: None

    def call_later(self, seconds: float, callback: Callable[..., None], *arguments: Any) -> asyncio.Handle:
        self.callback = lambda: callback(*arguments)
        return asyncio.Handle(self.callback, (), asyncio.get_running_loop())

    def time_is_up(self) -> None:
        self.callback()


class Running:
    """A server in a thread of this process, with short buffers, so that they are soon full."""

    def __init__(self, app: Endless) -> None:
        settings = config(app)
        settings.lifespan, settings.http = "off", Impatient
        self.server = uvicorn.Server(settings)
        self.bound = socket.create_server(("127.0.0.1", 0))
        self.bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.thread = threading.Thread(target=self.server.run, args=([self.bound],))

    def __enter__(self) -> socket.socket:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.client = socket.socket()
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.client.connect(self.bound.getsockname())
        self.client.sendall(REQUEST)
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.bound.close()


def test_the_request_of_a_client_that_reads_nothing_is_ended_and_said(caplog: pytest.LogCaptureFixture) -> None:
    app = Endless()
    with caplog.at_level(logging.WARNING), Running(app):
        assert app.ended.wait(SOON * 20), "it goes on although nobody reads"
        sent = app.sent
        time.sleep(SOON)
        assert app.sent == sent
    assert f"read nothing for {SOON:g} seconds" in caplog.text


def test_a_client_that_reads_slowly_is_left_in_peace() -> None:
    app = Endless()
    with Running(app) as client:
        until = time.monotonic() + SOON * 4
        while time.monotonic() < until:
            assert client.recv(16_384), "the server has hung up"
            time.sleep(SOON / 50)
        assert not app.ended.is_set()


@pytest.mark.anyio
async def test_a_full_buffer_that_has_shrunk_gets_as_long_again() -> None:
    transport = Filling()
    protocol = Impatient(config(Endless()), uvicorn.server.ServerState(), {}, asyncio.get_running_loop())
    protocol.connection_made(transport)
    clock = Clock()
    protocol.loop = clock  # type: ignore[assignment]
    protocol.pause_writing()
    for _ in range(5):
        transport.size -= 1
        clock.time_is_up()
        assert not transport.aborted
    clock.time_is_up()  # nothing was read this time
    assert transport.aborted
    protocol.connection_lost(None)


def test_a_suspended_laptop_has_two_minutes() -> None:
    assert GuardedHttp.unread_seconds == UNREAD_SECONDS == 120

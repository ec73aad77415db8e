"""Work beside the server."""

from __future__ import annotations

import logging
import socket
import threading
import time

import pytest
from fastapi import FastAPI

from modules.api.serving import Serving


async def _nothing() -> None:
    """Ends at once."""


def test_work_beside_the_server_that_raises_is_logged_and_the_server_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError("the page fell over")

    server = Serving(FastAPI(), lambda: None, _nothing, lambda: None)
    server.background.append(breaks)
    bound = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([bound],))
    with caplog.at_level(logging.ERROR):
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while "the page fell over" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
            assert "ZeroDivisionError: the page fell over" in caplog.text
            with socket.create_connection(bound.getsockname(), 5) as client:
                client.sendall(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n")
                assert client.recv(1000).startswith(b"HTTP/1.1 404")
        finally:
            server.should_exit = True
            thread.join(10)
            bound.close()
    assert not thread.is_alive()

"""A file server that misbehaves on purpose, one behaviour per request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[BaseHTTPRequestHandler, bytes], None]


def start_of(handler: BaseHTTPRequestHandler) -> int:
    """The first byte the client asked for."""
    asked = handler.headers.get("Range", "")
    return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0


def _head(handler: BaseHTTPRequestHandler, data: bytes, start: int, length: int | None = None) -> None:
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
    handler.send_header("Content-Length", str(len(data) - start if length is None else length))
    handler.end_headers()


def well(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    start = start_of(handler)
    _head(handler, data, start)
    handler.wfile.write(data[start:])


def drops_after(amount: int) -> Behaviour:
    """Sends so many bytes of what was promised, then closes the connection."""

    def behave(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        start = start_of(handler)
        _head(handler, data, start)
        handler.wfile.write(data[start : start + amount])
        handler.close_connection = True

    return behave


def ignores_the_range(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    _head(handler, data, 0)
    handler.wfile.write(data)


def sends_another_range(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Says 206, but for the beginning of the file."""
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 0-{len(data) - 1}/{len(data)}")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def wrong_content(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    well(handler, b"x" * len(data))


def status(code: int) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


def stalls_after(amount: int, seconds: float) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler, data: bytes) -> None:
        start = start_of(handler)
        _head(handler, data, start)
        handler.wfile.write(data[start : start + amount])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.close_connection = True

    return behave


def promises_too_little(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """The length is too small by half, so an honest client stops there."""
    start = start_of(handler)
    half = max(1, (len(data) - start) // 2)
    _head(handler, data, start, half)
    handler.wfile.write(data[start : start + half])


def sends_too_much(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    start = start_of(handler)
    more = b"y" * 10_000
    _head(handler, data, start, len(data) - start + len(more))
    handler.wfile.write(data[start:] + more)


class BadServer:
    """Serves `data` at any path. `behaviours` are used up one per request; the last one stays."""

    def __init__(self, data: bytes, behaviours: Sequence[Behaviour]) -> None:
        self.data = data
        self.ranges: list[str] = []
        self._behaviours = list(behaviours)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.ranges.append(self.headers.get("Range", ""))
                behave = server._behaviours.pop(0) if len(server._behaviours) > 1 else server._behaviours[0]
                try:
                    behave(self, server.data)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client had enough, as some tests want

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: the ranges are kept above."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/file.whl"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

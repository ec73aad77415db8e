"""What a connection may cost before a request is there: uvicorn's own protocol has no limit on either.

Everything here comes before host, origin and key are known, so anybody who reaches the port can try it. Only arriving
bytes are looked at; an answer, and so a streamed token, passes through uvicorn's code alone.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from http import HTTPStatus

from modules.api.errors import content
from modules.api.headers import LARGEST_HEAD, SECURITY_HEADERS
from modules.api.json_response import to_json
from modules.api.slow_reader import ReadHttp
from modules.errors import BadRequest, EnginehouseError, TooLarge


class HeadersTooLarge(TooLarge):
    """A request's first line and headers, or the trailers behind its body, are over LARGEST_HEAD."""

    status, code = 431, "headers_too_large"


class HeadTooLarge(Exception):
    """Ends the parsing of a request; the parser hands it to uvicorn as one of its own errors."""


class GuardedHttp(ReadHttp):
    """uvicorn's protocol with a limit on headers (431) and on the time until a request is there (hangs up)."""

    head_seconds = 30.0
    _kept = 0  # bytes the parser holds on to: since the last complete head or piece of body
    _fields = 0  # bytes of this request's complete headers, and of the trailers behind a chunked body
    _moved = False  # the bytes that just came completed a head or were body
    _handed_over = False  # to the WebSocket protocol, which has limits of its own
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start counting the time."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.head_seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then look at what the parser had to keep."""
        self._moved = False
        super().data_received(data)
        if self._handed_over or self.transport.is_closing():
            return
        self._kept = 0 if self._moved else self._kept + len(data)
        if self._kept > LARGEST_HEAD:
            self._too_large()
        elif self._deadline is None and not self._answering():
            self._deadline = self.loop.call_later(self.head_seconds, self._late)

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to the WebSocket protocol."""
        self._handed_over = True
        self._in_time()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Say what was wrong; here also that the headers were too large."""
        if self._fields > LARGEST_HEAD:
            self._too_large()
        else:
            self._refuse(BadRequest("This is not a request in HTTP.", code="invalid_http"))

    def on_message_begin(self) -> None:
        """A new request."""
        self._fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header or trailer."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request is there: from here on the application has its own limits."""
        self._moved = True
        self._in_time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._moved = True
        super().on_body(body)

    def _count(self, size: int) -> None:
        self._fields += size
        if self._fields > LARGEST_HEAD:
            raise HeadTooLarge

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _too_large(self) -> None:
        limit = f"{LARGEST_HEAD // 1024} KB"
        self._refuse(
            HeadersTooLarge(f"The request's headers are larger than {limit}.", hint="Send fewer or shorter ones.")
        )

    def _refuse(self, error: EnginehouseError) -> None:
        """Answer without the application, in the shape and with the headers its answers have."""
        self._in_time()
        if not self._answering():  # in the middle of an answer it would be read as part of it
            self.transport.write(_whole_answer(error))
        self.transport.close()

    def _late(self) -> None:
        self._deadline = None
        if not self._answering():
            self.transport.close()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _whole_answer(error: EnginehouseError) -> bytes:
    body = to_json(content(error))
    fields = (
        *SECURITY_HEADERS,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    )
    first = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    return first + b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n" + body

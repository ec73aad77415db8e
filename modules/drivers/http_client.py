"""A small HTTP/1.1 client for engines on this machine: keep-alive, streamed bodies, cancel by hanging up.

Why not a whole client library: this is the token path. Measured on the target machine, one SSE event a token,
processor time per token of the client alone: httpx 140 µs, aiohttp 75 µs, this 56 µs, of which about 50 are the
event loop waking up. The aim for the whole server is 100 µs. The HTTP parsing is httptools' (llhttp, the parser
uvicorn uses); here are only the connections. Addresses come from a loader or from an endpoint file, never from a
request: proxies are not used, and a redirect is an answer like any other.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import orjson

from modules.engine.idle_timeout import Silence

IDLE = 4.0
"""Seconds an idle connection is kept; llama-server closes after five."""
CONNECT_TIMEOUT = 5.0
MAX_ANSWER = 256 * 1024 * 1024


class ConnectionLost(Exception):
    """The other side went away; `begun` = after a part of the answer had arrived, `given_up` = it was too silent."""

    def __init__(self, begun: bool, given_up: bool = False) -> None:
        super().__init__("the engine closed the connection")
        self.begun = begun
        self.given_up = given_up


class Connection(asyncio.Protocol):
    """One connection, one request at a time. The parser calls the `on_…` methods.

    `heard` is called whenever something of the body arrives, whether or not anyone reads it; not for a comment
    (":"), which the HTTP thread sends by itself also while the engine behind it hangs.

    `patience` is how many seconds a wait for the other side may last, 0 = any number; then it is hung up on and
    `given_up` is true. The time in which nobody waits does not count.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self.given_up = False
        self._patience = patience
        self._silence: Silence | None = None
        self.status = 0
        self.retry_after = ""
        self.idle_since = 0.0
        self.reusable = False
        self.begun = False
        self.heard: Callable[[], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self._head_done = False
        self._bounded = False
        self._complete = False
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
        self._wake()

    def eof_received(self) -> None:
        """The end of a body that names no length, as servers of HTTP/1.0 send it."""
        if self._head_done and not self._bounded:
            self._complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._wake()

    # httptools
    def on_header(self, name: bytes, value: bytes) -> None:
        low = name.lower()
        self._bounded = self._bounded or low in (b"content-length", b"transfer-encoding")
        if low == b"retry-after":
            self.retry_after = value[:64].decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        if self.heard is not None and not body.startswith(b":"):
            self.heard()

    def on_message_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        self._complete = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        if self._silence is None:
            await self._waiter
            return
        self._silence.heard()
        await self._waiter
        self._silence.rest()

    def _give_up(self) -> None:
        self.given_up = True
        self.abort()

    def hurry(self, patience: float) -> None:
        """From now on a wait may last this long at most."""
        if self._silence is not None:
            self._silence.hurry(patience)

    def rest(self) -> None:
        """No request any more."""
        self.heard = None
        if self._silence is not None:
            self._silence.end()
            self._silence = None

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request; the answer of the one before must have been read."""
        self.begun = self._head_done = self._bounded = self._complete = self.reusable = False
        self.retry_after = ""
        self._body.clear()
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is None or self._lost:
            raise ConnectionLost(False)
        if self._patience:
            self._silence = Silence(self._patience, self._give_up)
        self._transport.write(head + body)

    async def head(self) -> int:
        """The status, once the headers are there. Raises ConnectionLost."""
        while not self._head_done:
            if self._lost:
                raise ConnectionLost(self.begun or self.given_up, self.given_up)
            await self._wait()
        return self.status

    async def piece(self) -> bytes:
        """What has arrived of the body; b"" at its end. Raises ConnectionLost."""
        while not self._body:
            if self._complete:
                return b""
            if self._lost:
                raise ConnectionLost(True, self.given_up)
            await self._wait()
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return data

    @property
    def open(self) -> bool:
        return not self._lost and self._transport is not None and not self._transport.is_closing()

    @property
    def finished(self) -> bool:
        """The answer has been read to its end."""
        return self._complete and not self._body

    def abort(self) -> None:
        """Hang up now."""
        if self._transport is not None:
            self._transport.abort()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer as it is; `retry_after` is the header of that name, "" without one."""

    status: int
    body: bytes
    retry_after: str = ""


class HttpClient:
    """Requests to one base URL. `post` and `get` are for short answers, `stream` for long ones.

    headers  further ones, of every request
    tls      how certificates are checked at an https address; None = by those the system trusts
    patience seconds the other side may be silent while it is waited for; 0 = any number
    """

    def __init__(
        self, url: str, key: str, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None,
        patience: float = 0.0,
    ) -> None:  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http address: {url}")
        secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if secure else 80)
        self._tls = (tls or ssl.create_default_context()) if secure else None
        self._patience = patience
        self._base = parts.path.rstrip("/")
        host = f"[{self._host}]" if ":" in self._host else self._host
        named = f"{host}:{self._port}" if parts.port or not secure else host
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._headers = f"Host: {named}\r\n{authorization}{more}Content-Type: application/json\r\n"
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()

    async def stream(self, path: str, body: Any) -> Connection:
        """POST `body` as JSON; the connection with the status read. Give it back with `release`.

        Raises OSError, TimeoutError (connect) or ConnectionLost.
        """
        return await self._send("POST", path, orjson.dumps(body))

    async def post(self, path: str, body: Any, timeout: float = 60.0) -> tuple[int, Any]:
        """POST `body` as JSON: (status, answer). Raises OSError, TimeoutError, ConnectionLost or ValueError."""
        async with asyncio.timeout(timeout):
            return await self._whole("POST", path, orjson.dumps(body))

    async def get(self, path: str, timeout: float = 10.0) -> tuple[int, Any]:
        """GET: (status, answer). Raises as `post`."""
        async with asyncio.timeout(timeout):
            return await self._whole("GET", path, b"")

    async def post_raw(self, path: str, body: Any) -> Answer:
        """POST `body` as JSON: the answer as it is. Raises OSError, TimeoutError or ConnectionLost."""
        return await self._raw("POST", path, orjson.dumps(body))

    async def get_raw(self, path: str) -> Answer:
        """GET: the answer as it is. Raises as `post_raw`."""
        return await self._raw("GET", path, b"")

    async def _whole(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        answer = await self._raw(method, path, body)
        return answer.status, orjson.loads(answer.body or b"null")

    async def _raw(self, method: str, path: str, body: bytes) -> Answer:
        connection = await self._send(method, path, body)
        try:
            data = await read_all(connection)
        finally:
            self.release(connection)
        return Answer(connection.status, data, connection.retry_after)

    async def _send(self, method: str, path: str, body: bytes) -> Connection:
        head = f"{method} {self._base}{path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n".encode()
        reused = self._take()
        if reused is not None:
            try:
                return await self._ask(reused, head, body)
            except ConnectionLost as error:
                if error.begun:
                    raise
                # The server had closed it while it lay idle, so it has not seen the request: once more.
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: Connection(self._patience), self._host, self._port, ssl=self._tls)
        async with asyncio.timeout(CONNECT_TIMEOUT):  # wait_for loses a cancellation that comes with the connection
            _, fresh = await connecting
        return await self._ask(fresh, head, body)

    async def _ask(self, connection: Connection, head: bytes, body: bytes) -> Connection:
        self._busy.add(connection)
        try:
            connection.send(head, body)
            await connection.head()
        except BaseException:
            self.release(connection)
            raise
        return connection

    def _take(self) -> Connection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.open and now - connection.idle_since < IDLE:
                return connection
            connection.abort()
        return None

    def release(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; hang up on any other."""
        self._busy.discard(connection)
        connection.rest()
        if connection.finished and connection.reusable and connection.open:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()

    async def close(self) -> None:
        """Hang up on everything."""
        for connection in (*self._idle, *self._busy):
            connection.abort()
        self._idle.clear()
        self._busy.clear()
        await asyncio.sleep(0)  # lets the transports close


async def read_all(connection: Connection) -> bytes:
    """The whole body. Raises ConnectionLost, or ValueError for one beyond all measure."""
    parts: list[bytes] = []
    size = 0
    while data := await connection.piece():
        parts.append(data)
        size += len(data)
        if size > MAX_ANSWER:
            raise ValueError("the answer is too long")
    return b"".join(parts)


async def events(connection: Connection) -> AsyncIterator[list[bytes]]:
    """The SSE events of a body, those that arrived together as one list; each without its blank line."""
    rest = b""
    while data := await connection.piece():
        *whole, rest = (rest + data).split(b"\n\n")
        if whole:
            yield whole
    if rest.strip():
        yield [rest]

"""The HTTP client of engines that are servers: aiohttp, with the rules that hold for every engine.

Addresses come from a loader or from an endpoint file, never from a request. Proxies are not used, a redirect is an
answer like any other, and nothing is decompressed. Hanging up is the cancel, and it happens at once. Measured, one
server-sent event a token: 38 µs of processor time a token, against 28 for a client of our own that was here before
(docs/decisions/).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from modules.engine.idle_timeout import IdleTimeout

if TYPE_CHECKING:
    import aiohttp

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


class Connection:
    """One answer that is being read.

    `heard` is called for each piece of the body; not for a comment (":"), which the HTTP thread sends by itself also
    while the engine behind it hangs. `silence` ends the wait for a server that sends nothing any more.
    """

    def __init__(self, response: aiohttp.ClientResponse, silence: _Patience) -> None:
        self.status = response.status
        self.retry_after = response.headers.get("Retry-After", "")[:64]
        self.heard: Callable[[], None] | None = None
        self.response = response
        self._silence = silence
        self._content = response.content

    async def piece(self) -> bytes:
        """What has arrived of the body; b"" at its end. Raises ConnectionLost."""
        import aiohttp

        try:
            data: bytes = await self._silence.wait(self._content.readany())
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(True, self._silence.given_up) from error
        if data and self.heard is not None and not data.startswith(b":"):
            self.heard()
        return data

    @property
    def finished(self) -> bool:
        """The answer has been read to its end."""
        return self._content.at_eof()

    def hurry(self, patience: float) -> None:
        """From now on a wait may last this many seconds at most."""
        self._silence.hurry(patience)

    def end(self) -> None:
        """No more is read: keep the connection if its answer was read to the end, else hang up now."""
        self.heard = None
        self._silence.end()
        if self.finished:
            self.response.release()
        else:
            self._silence.hang_up()


class _Patience:
    """How long a wait for the other side may last, 0 = any number of seconds. Time in which nobody waits is free."""

    def __init__(self, seconds: float) -> None:
        self.given_up = False
        self.response: aiohttp.ClientResponse | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._silence = IdleTimeout(seconds, self._give_up) if seconds else None

    async def wait(self, coming: Any) -> Any:
        """Await what the other side sends. Raises ConnectionLost when it was silent for too long."""
        if self._silence is None:
            return await coming
        self._waiting = asyncio.current_task()
        self._silence.heard()
        try:
            return await coming
        except asyncio.CancelledError:
            if self.given_up and self._waiting is not None and not self._waiting.uncancel():
                raise ConnectionLost(self.response is not None or self.given_up, True) from None
            raise
        finally:
            self._waiting = None
            self._silence.rest()

    def _give_up(self) -> None:
        if self._waiting is not None:
            self.given_up = True
            self._waiting.cancel()

    def hurry(self, seconds: float) -> None:
        if self._silence is not None:
            self._silence.hurry(seconds)

    def hang_up(self) -> None:
        """Close the connection at once, without a word to the other side."""
        if self.response is not None:
            line = self.response.connection
            if line is not None and line.transport is not None:
                line.transport.abort()
            self.response.close()

    def end(self) -> None:
        if self._silence is not None:
            self._silence.end()


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

    May be made in any thread; the first request ties it to its event loop.
    """

    def __init__(
        self, url: str, key: str, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None,
        patience: float = 0.0,
    ) -> None:  # fmt: skip
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http address: {url}")
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self._base = url.rstrip("/")
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._patience = patience
        self._headers = {**(headers or {}), "Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._session: aiohttp.ClientSession | None = None
        self.busy: set[Connection] = set()

    async def stream(self, path: str, body: Any) -> Connection:
        """POST `body` as JSON; the connection with the status read. Give it back with `release`.

        Raises OSError, TimeoutError (connect) or ConnectionLost.
        """
        return await self._send("POST", path, orjson.dumps(body))

    async def post(self, path: str, body: Any, timeout: float = 60.0) -> tuple[int, Any]:
        """POST `body` as JSON: (status, answer). Raises OSError, TimeoutError, ConnectionLost or ValueError."""
        async with asyncio.timeout(timeout):
            return _parsed(await self._raw("POST", path, orjson.dumps(body)))

    async def get(self, path: str, timeout: float = 10.0) -> tuple[int, Any]:
        """GET: (status, answer). Raises as `post`."""
        async with asyncio.timeout(timeout):
            return _parsed(await self._raw("GET", path, b""))

    async def post_raw(self, path: str, body: Any) -> Answer:
        """POST `body` as JSON: the answer as it is. Raises OSError, TimeoutError or ConnectionLost."""
        return await self._raw("POST", path, orjson.dumps(body))

    async def _raw(self, method: str, path: str, body: bytes) -> Answer:
        connection = await self._send(method, path, body)
        try:
            data = await read_all(connection)
        finally:
            self.release(connection)
        return Answer(connection.status, data, connection.retry_after)

    async def _send(self, method: str, path: str, body: bytes) -> Connection:
        """Send a request, once more where a connection had been closed by the server while it lay idle."""
        import aiohttp

        while True:
            seen = SimpleNamespace(reused=False)
            patience = _Patience(self._patience)
            try:
                asked = self._opened().request(
                    method, self._base + path, data=body, allow_redirects=False, trace_request_ctx=seen
                )
                response = await patience.wait(asked)
                break
            except aiohttp.ClientConnectorError as error:
                patience.end()
                raise error.os_error from None
            except aiohttp.ClientConnectorCertificateError as error:
                patience.end()
                raise error.certificate_error from None
            except (aiohttp.ClientConnectionError, ConnectionError) as error:
                patience.end()
                if not seen.reused:
                    raise ConnectionLost(False) from error
            except aiohttp.ClientError as error:
                patience.end()
                raise ConnectionLost(True) from error
            except BaseException:
                patience.end()
                raise
        patience.response = response
        connection = Connection(response, patience)
        self.busy.add(connection)
        return connection

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            async def reused(session: Any, context: Any, params: Any) -> None:
                context.trace_request_ctx.reused = True

            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(reused)
            connector = aiohttp.TCPConnector(
                limit=0, keepalive_timeout=IDLE, use_dns_cache=False, ssl=True if self._tls is None else self._tls
            )
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, auto_decompress=False, trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(), skip_auto_headers=("User-Agent", "Accept-Encoding"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT), trace_configs=[trace],
                requote_redirect_url=False,
            )  # fmt: skip
        return self._session

    def release(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end; hang up on any other."""
        self.busy.discard(connection)
        connection.end()

    async def close(self) -> None:
        """Hang up on everything."""
        for connection in tuple(self.busy):
            self.release(connection)
        if self._session is not None:
            await self._session.close()
            self._session = None
        await asyncio.sleep(0)  # lets the transports close


def _parsed(answer: Answer) -> tuple[int, Any]:
    return answer.status, orjson.loads(answer.body or b"null")


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

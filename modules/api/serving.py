"""Running the application in uvicorn: from the bound sockets to a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Literal

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from modules.api.headers import LARGEST_HEAD
from modules.api.ui_placeholder import UiPlaceholder

GRACE_SECONDS = 1  # for answers that are still going out when the server ends
# Longer than clients keep an idle connection (httpx: 5 s, as uvicorn's default): the one who closes it first must be
# the client, or its next request may meet a connection that is just being closed.
KEEP_ALIVE_SECONDS = 75
MAX_SOCKET_MESSAGE = 64 * 1024  # bytes a page may send over a WebSocket at once
_log = logging.getLogger("enginehouse.server")


def config(asgi: ASGIApp) -> uvicorn.Config:
    """What uvicorn is told. Logging is set up by modules/logs.py, not by it."""
    return uvicorn.Config(
        asgi,
        lifespan="on",
        http=_protocol(),
        h11_max_incomplete_event_size=LARGEST_HEAD,
        ws="websockets-sansio",
        ws_max_size=MAX_SOCKET_MESSAGE,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    """uvicorn's fast parser with limits; without httptools the plain one, which has its own."""
    try:
        from modules.api.http_head import GuardedHttp
    except ImportError:
        return "h11"
    return GuardedHttp


class Serving(uvicorn.Server):
    """One run of the server.

    listening   called once when requests are answered
    let_go      awaited first at the end: replies are saved and streams end, so that connections can close
    clean_up    called when the person forces the end with a second Ctrl+C
    """

    def __init__(
        self, asgi: ASGIApp, listening: Callable[[], None], let_go: Callable[[], Awaitable[None]],
        clean_up: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(config(asgi))
        self._listening = listening
        self._let_go = let_go
        self._clean_up = clean_up
        self.background: list[Callable[[], Awaitable[None]]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, say so, then do what may take longer."""
        await super().startup(sockets)
        if not self.should_exit:
            self._listening()
            self._tasks = [asyncio.ensure_future(_logged(work)) for work in self.background]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order: replies and streams first, then connections, then the parts."""
        for server in self.servers:
            server.close()
        await self._let_go()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Like uvicorn's, but a signal that ended us in good order is not raised again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        ours = [signal.SIGINT, signal.SIGTERM]
        if sys.platform == "win32":
            ours.append(signal.SIGBREAK)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup stays in force
            ours.append(signal.SIGHUP)
        before = {sig: signal.signal(sig, self.handle_exit) for sig in ours}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: end in order. Second Ctrl+C: end now; engines end by themselves when we are gone."""
        if self.should_exit and sig == signal.SIGINT:
            self._clean_up()
            os._exit(130)
        self.should_exit = True


async def _logged(work: Callable[[], Awaitable[None]]) -> None:
    """Work nobody waits for: what it raises would be seen by nobody."""
    try:
        await work()
    except Exception:
        _log.exception("work beside the server ended with an error; the server goes on")


async def fill_page(page: UiPlaceholder, make: Callable[[], FastAPI]) -> None:
    """Import the web page's library in a thread while requests are answered, then let the page in.

    Runs until it is cancelled: it holds the page's own lifespan. When the page cannot be made, `/` says why and
    the API goes on.
    """
    try:
        asgi = await _in_daemon_thread(make)
    except Exception as error:  # whatever its library does, the API stays
        _log.exception("the web page could not be opened")
        page.fail(f"The web page could not be opened ({type(error).__name__}). The log has the details; the API runs.")
        return
    async with asgi.router.lifespan_context(asgi):
        page.fill(asgi)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            _log.debug("the web page is let go")  # and its lifespan ends in good order


async def _in_daemon_thread(make: Callable[[], FastAPI]) -> FastAPI:
    """`make()` in a thread that nobody waits for at the end: Ctrl+C must not wait for an import to finish."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[FastAPI] = loop.create_future()

    def settle(result: FastAPI | Exception) -> None:
        if made.done():  # cancelled: the server is ending
            return
        if isinstance(result, Exception):
            made.set_exception(result)
        else:
            made.set_result(result)

    def work() -> None:
        result: FastAPI | Exception
        try:
            result = make()
        except Exception as error:  # handed on to whoever waits
            result = error
        with contextlib.suppress(RuntimeError):  # the loop is gone, and so is the one who waited
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=work, name="web page", daemon=True).start()
    return await made

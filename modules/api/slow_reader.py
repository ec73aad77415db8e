"""A client that does not read its answer holds what makes the answer: a place in the engine, a task, buffers.

Seen here and not where a route sends: only the connection knows whether anything moves, and only it can hang up on
somebody who reads nothing. A streamed token costs nothing; the clock runs only while the buffer is full.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNREAD_SECONDS = 120.0
"""How long a full buffer may stand still. A laptop that wakes up or a network that changes takes seconds; what is
lost is a stream a program can ask for again. Replies in a chat go on without their reader."""
_log = logging.getLogger("enginehouse.api")


class ReadHttp(HttpToolsProtocol):
    """uvicorn's protocol, which hangs up on a client that has stopped reading."""

    unread_seconds = UNREAD_SECONDS
    _unread: TimerHandle | None = None

    def pause_writing(self) -> None:
        """The buffer is full: whoever sends waits from now on."""
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to watch."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_unread(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self.unread_seconds, self._look, waiting)

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _look(self, waiting: int) -> None:
        """Time is up: slow is not dead, so a buffer that has shrunk gets as long again."""
        if self.transport.get_write_buffer_size() < waiting:
            self._watch_unread()
            return
        self._unread = None
        path = self.scope["path"] if self.cycle is not None else ""
        _log.warning("%s: the client has read nothing for %g seconds; its request is ended", path, self.unread_seconds)
        self.transport.abort()  # not close(), which waits until everything has been read

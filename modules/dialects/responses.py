"""Answers that a client can hang up on: one JSON object, server-sent events, lines of JSON (NDJSON)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from modules.dialects.dialect import Dialect
from modules.dialects.encoding import encoded
from modules.web.sse import NDJSON, SSE, Framing, send_answer, send_stream, unless_disconnected


class JsonAnswer(Response):
    """One JSON answer that `work` computes; a client that hangs up cancels it."""

    def __init__(self, dialect: Dialect, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        super().__init__()
        self._dialect = dialect
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            status, wait = 200, 0
            try:
                body = encoded(await self._work())
            except Exception as error:
                problem = self._dialect.error(error)
                status, body, wait = problem.status, problem.body, problem.wait
            await send_answer(send, status, body, wait)

        await unless_disconnected(receive, answer())


class StreamAnswer(Response):
    """Pieces of an answer, each sent at once; a client that hangs up closes `pieces`.

    An error before the first piece has its own HTTP status; a later one is the last piece. `comment` is what a
    keep-alive says while nothing else comes, where the framing has such a thing.
    """

    framing: Framing

    def __init__(
        self, dialect: Dialect, pieces: AsyncGenerator[bytes, None], comment: Callable[[], str] = lambda: "keep-alive"
    ) -> None:
        super().__init__()
        self._dialect = dialect
        self._pieces = pieces
        self._comment = comment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        def error_answer(error: Exception) -> tuple[int, bytes]:
            problem = self._dialect.error(error)
            return problem.status, problem.body

        await send_stream(receive, send, self._pieces, self.framing, error_answer, self._comment)


class EventAnswer(StreamAnswer):
    """Server-sent events; each piece is a complete event ("data: …" and an empty line)."""

    framing = SSE


class LineAnswer(StreamAnswer):
    """Lines of JSON (application/x-ndjson); each piece is one line with its line break. It has no keep-alive."""

    framing = NDJSON


class ErrorResponse(Response):
    """An error found before any work began."""

    def __init__(self, dialect: Dialect, error: Exception) -> None:
        problem = dialect.error(error)
        headers = {"retry-after": str(problem.wait)} if problem.wait else None
        super().__init__(problem.body, problem.status, headers, media_type="application/json")


def json_response(value: Any) -> Response:
    """A JSON answer that is there already."""
    return Response(encoded(value), media_type="application/json")

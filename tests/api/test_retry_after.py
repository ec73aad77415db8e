"""An error that says how long to wait says it as a header too, in every way an answer can be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from modules.api.errors import answer, answer_at
from modules.dialects.dialect import Dialect
from modules.dialects.responses import ErrorResponse, EventAnswer, JsonAnswer, LineAnswer
from modules.errors import BadRequest, EnginehouseError, NotReady, RateLimited, from_dict, seconds_to_wait

pytestmark = pytest.mark.anyio
DIALECT = Dialect("test", ("/x",), lambda error: error.message)


def limited(seconds: float | None) -> RateLimited:
    error = RateLimited("Too much to do.")
    error.retry_after = seconds
    return error


def failing(error: EnginehouseError) -> list[Any]:
    """Every kind of answer that ends with this error before its first byte."""

    async def work() -> Any:
        raise error

    async def events() -> AsyncGenerator[bytes, None]:
        raise error
        yield b""

    return [
        answer(error), answer_at(error, "/x/y", [DIALECT]), ErrorResponse(DIALECT, error), JsonAnswer(DIALECT, work),
        EventAnswer(DIALECT, events()), LineAnswer(DIALECT, events()),
    ]  # fmt: skip


async def sent_by(response: Any) -> tuple[int, dict[bytes, bytes]]:
    """The status and the headers."""
    started: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        started.append(message)

    await response({"type": "http"}, receive, send)
    return started[0]["status"], dict(started[0]["headers"])


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (limited(7.0), 429, b"7"), (limited(7.2), 429, b"8"), (limited(0.0), 429, b"1"), (limited(None), 429, b"1"),
        (NotReady("x"), 503, b"1"), (BadRequest("x"), 400, None),
    ],
)  # fmt: skip
async def test_the_header_says_how_long_to_wait(
    kind: int, error: EnginehouseError, status: int, header: bytes | None
) -> None:
    found, headers = await sent_by(failing(error)[kind])
    assert (found, headers.get(b"retry-after")) == (status, header)


def test_the_time_crosses_from_one_process_to_another() -> None:
    assert from_dict(limited(7.0).as_dict()).retry_after == 7.0
    assert isinstance(from_dict(limited(7.0).as_dict()), RateLimited)
    assert "retry_after" not in limited(None).as_dict()
    assert limited(1).kind == "rate_limit_error"
    assert seconds_to_wait(ValueError()) == 0

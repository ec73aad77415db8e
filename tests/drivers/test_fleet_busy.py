"""Servers of a fleet that have too much to do: the reply goes to another one, and they are left alone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

import pytest

from modules.drivers.fleet import LONGEST_WAIT, Fleet
from modules.errors import EngineError, NotReady, RateLimited
from modules.types import Chunk, Failed, GenerationRequest, Notice
from tests.drivers.openai_making import (
    DONE,
    GOOD,
    Answer,
    Asked,
    Fake,
    event,
    giving,
    piece,
    plain,
    saying,
)
from tests.drivers.test_fleet import chat, codes, two
from tests.engine.making import collect, done_of, failed_of, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def busy(wait: str = "", status: int = 429, said: str = "Rate limit reached") -> Answer:
    """Refuses every request for now; `wait` is its Retry-After."""
    return giving(plain({"error": {"message": said}}, status, more=f"Retry-After: {wait}\r\n" if wait else ""))


def left(fleet: Fleet, number: int = 0) -> float:
    """Seconds until a server comes first again."""
    return fleet.members[number].waits - time.monotonic()


def counts(*fakes: Fake) -> tuple[int, ...]:
    return tuple(len(fake.asked) for fake in fakes)


async def test_a_reply_goes_to_another_server_with_the_reason_and_the_busy_one_comes_last_until_its_time() -> None:
    async with two(busy("30"), GOOD) as (one, other, fleet):
        chunks = await collect(fleet, chat("Hi"))
        assert text_of(chunks) == "Hello"
        (notice,) = [chunk for chunk in chunks if isinstance(chunk, Notice)]
        assert notice.code == "server_busy"
        for words in ("Rate limit reached", one.url.removeprefix("http://"), other.url.removeprefix("http://")):
            assert words in notice.message
        assert 20 < left(fleet) <= 30
        for number in range(4):
            assert codes(await collect(fleet, chat(f"another {number}"))) == []
        assert counts(one, other) == (1, 5), "they would take turns"
        assert all(member.down is None for member in fleet.members)
        one.answer = GOOD
        fleet.members[0].waits = 0.0  # the time is over
        done_of(await collect(fleet, chat("one more")))
        assert counts(one, other) == (2, 5)


@pytest.mark.parametrize(
    ("wait", "seconds"), [("", 1.0), ("5", 5.0), ("999999", LONGEST_WAIT), ("soon", 1.0), ("0", 0.0)]
)
async def test_how_long_a_server_comes_last_is_bounded(wait: str, seconds: float) -> None:
    async with two(busy(wait), GOOD) as (_, _, fleet):
        before = time.monotonic()
        done_of(await collect(fleet, chat("Hi")))
        assert before + seconds <= fleet.members[0].waits <= time.monotonic() + seconds


@pytest.mark.parametrize(
    ("waits", "told"), [(("40", "7"), 7.0), (("7", "40"), 7.0), (("", "90"), 90.0), (("", ""), None)]
)
async def test_when_all_have_too_much_to_do_the_caller_gets_the_shortest_time(
    waits: tuple[str, str], told: float | None
) -> None:
    async with two(*map(busy, waits)) as (one, other, fleet):
        chunks = await collect(fleet, chat("Hi"))
        error = failed_of(chunks).error
        assert (error["status"], error["code"], error.get("retry_after")) == (429, "rate_limited", told)
        assert counts(one, other) == (1, 1), "each was asked, and once"
        for fake in (one, other):
            assert fake.url.removeprefix("http://") in error["message"]
        with pytest.raises(RateLimited) as caught:
            await fleet.embed(["x"])
        assert caught.value.retry_after == told
        assert counts(one, other) == (2, 2), "their time is not over, but nobody else is left to be asked"


async def test_a_server_whose_time_is_not_over_is_asked_when_no_other_is_left() -> None:
    async with two(busy("50"), busy("20")) as (one, other, fleet):
        failed_of(await collect(fleet, chat("Hi")))
        one.answer = other.answer = GOOD
        assert text_of(await collect(fleet, chat("Hi"))) == "Hello"
        assert counts(one, other) == (1, 2), "the one that named the nearer time"
        assert left(fleet, 1) <= 0, "it had time after all"
        assert left(fleet) > 20
        one.healthy = False
        one.answer = giving(plain(b"", 502))
        fleet.members[0].waits = 0.0
        assert text_of(await collect(fleet, chat("Ho"))) == "Hello"


async def test_one_that_is_down_and_one_that_is_busy_are_both_told_with_the_time_there_is() -> None:
    async with two(giving(plain(b"<html>Bad Gateway</html>", 502)), busy("9")) as (one, _, fleet):
        one.healthy = False
        error = failed_of(await collect(fleet, chat("Hi"))).error
        assert (error["status"], error["retry_after"]) == (429, 9.0)
        assert "502" in error["message"]
        assert "Rate limit" in error["message"]


@pytest.mark.parametrize(("wait", "down"), [("3", False), ("", True)])
async def test_a_server_that_is_not_ready_is_passed_over_and_only_down_where_it_names_no_time(
    wait: str, down: bool
) -> None:
    async with two(busy(wait, 503, "loading"), GOOD) as (one, _, fleet):
        fleet.check_first = 30.0
        chunks = await collect(fleet, chat("Hi"))
        assert text_of(chunks) == "Hello"
        assert codes(chunks) == ["server_changed" if down else "server_busy"]
        assert (fleet.members[0].down is not None) is down
        assert len(one.asked) == 1


async def test_servers_that_are_all_not_ready_for_a_named_time_are_told_as_such() -> None:
    async with two(busy("8", 503), busy("4", 503)) as (_, _, fleet):
        error = failed_of(await collect(fleet, chat("Hi"))).error
        assert (error["status"], error["code"], error["retry_after"]) == (503, "engine_unavailable", 4.0)
        with pytest.raises(NotReady):
            await fleet.tokenize("x")


async def test_a_reply_that_has_begun_is_not_begun_again_elsewhere() -> None:
    refusing = saying(piece("half of it"), event({"error": {"message": "too many", "code": 429}}), DONE)
    async with two(refusing, GOOD) as (_, other, fleet):
        chunks = await collect(fleet, chat("Hi"))
        assert text_of(chunks) == "half of it"
        assert failed_of(chunks).error["code"] == "rate_limited"
        assert not other.asked
        assert left(fleet) > 0


async def test_a_refusal_in_the_stream_before_the_first_word_is_passed_on() -> None:
    async with two(saying(event({"error": {"message": "too many", "code": 429}})), GOOD) as (_, _, fleet):
        chunks = await collect(fleet, chat("Hi"))
        assert text_of(chunks) == "Hello"
        assert codes(chunks) == ["server_busy"]


async def test_what_a_busy_server_did_not_read_does_not_bind_the_conversation_to_it() -> None:
    async with two(busy("1"), GOOD) as (one, other, fleet):
        done_of(await collect(fleet, chat("Hi")))
        one.answer = GOOD
        fleet.members[0].waits = 0.0
        done_of(await collect(fleet, chat("Hi", "Hello", "And?")))
        assert counts(one, other) == (1, 2)


async def test_vectors_are_asked_of_another_server() -> None:
    async def vectors(asked: Asked, writer: object) -> None:
        body = {"data": [{"index": 0, "embedding": [3.0, 4.0]}]}
        writer.write(plain(body))  # type: ignore[attr-defined]

    async with two(busy("30"), vectors) as (one, other, fleet):
        for _ in range(2):
            assert (await fleet.embed(["x"])).vectors == (pytest.approx((0.6, 0.8)),)
        assert counts(one, other) == (1, 2)


async def test_a_server_that_came_back_with_other_adapters_is_passed_over() -> None:
    async def changed(request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        yield Failed(EngineError("It has other adapters.", code="adapters_changed").as_dict())

    async with two() as (one, other, fleet):
        fleet.check_first = 30.0
        fleet.members[0].server.generate = changed  # type: ignore[method-assign]
        chunks = await collect(fleet, chat("Hi"))
        assert text_of(chunks) == "Hello"
        assert codes(chunks) == ["server_changed"]
        assert counts(one, other) == (0, 1)


async def test_looking_after_servers_ends_though_a_cancellation_was_lost() -> None:
    """As asyncio.wait_for of Python 3.11 loses one that comes together with what it waits for."""
    asked = asyncio.Event()

    async def losing() -> None:
        with contextlib.suppress(*([] if asked.is_set() else [asyncio.CancelledError])):  # only the first
            asked.set()
            await asyncio.Event().wait()

    async with two() as (_, _, fleet):
        fleet.members[0].health.check = losing  # type: ignore[method-assign]
        done_of(await collect(fleet, chat("Hi")))
        await asked.wait()
        async with asyncio.timeout(20):
            await fleet.close()

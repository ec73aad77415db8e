"""Events: everybody hears them in order, and a slow listener never holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from modules.events import RESYNC, Events, Subscription

pytestmark = pytest.mark.anyio


async def take(subscription: Subscription, count: int) -> list[Mapping[str, Any]]:
    return [await asyncio.wait_for(anext(subscription), 20) for _ in range(count)]


async def test_every_listener_gets_every_event_in_order() -> None:
    events = Events()
    events.bind()
    first, second = events.subscribe(), events.subscribe()
    for number in range(5):
        events.publish({"n": number})
    assert [event["n"] for event in await take(first, 5)] == list(range(5))
    assert [event["n"] for event in await take(second, 5)] == list(range(5))


async def test_a_slow_listener_is_told_to_start_over_and_nobody_waits_for_it() -> None:
    events = Events(limit=3)
    events.bind()
    slow, quick = events.subscribe(), events.subscribe()
    for number in range(4):
        events.publish({"n": number})
        assert (await take(quick, 1))[0]["n"] == number
    events.publish({"n": 4})
    assert await take(slow, 2) == [RESYNC, {"n": 4}]


async def test_other_threads_may_publish() -> None:
    events = Events()
    events.bind()
    listener = events.subscribe()
    await asyncio.to_thread(events.publish, {"from": "a thread"})
    assert await take(listener, 1) == [{"from": "a thread"}]


async def test_a_closed_listener_ends_and_is_forgotten() -> None:
    events = Events()
    events.bind()
    listener = events.subscribe()
    waiting = asyncio.create_task(take(listener, 1))
    await asyncio.sleep(0)
    listener.close()
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert events.listeners == 0


async def test_closing_ends_all_listeners_and_later_ones_at_once() -> None:
    events = Events()
    events.bind()
    early = events.subscribe()
    events.publish({"n": 1})
    events.close()
    assert [event async for event in early] == [{"n": 1}]
    assert [event async for event in events.subscribe()] == []


async def test_before_the_loop_is_known_nothing_is_published_and_nothing_fails() -> None:
    Events().publish({"n": 1})

"""The log of one reply: read from any index, while it grows."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from typing import Any

import pytest

from modules.replies.log import ReplyLog

pytestmark = pytest.mark.anyio


def a_log(rng: random.Random, length: int) -> tuple[ReplyLog, list[dict[str, Any]]]:
    """A log, and its events as they went in."""
    log, events = ReplyLog(), []
    kind = "t"
    for number in range(length):
        if rng.random() < 0.02:
            kind = "r" if kind == "t" else "t"
        if rng.random() < 0.02:
            log.append({"notice": {"code": str(number)}})
            events.append({"notice": {"code": str(number)}})
        else:
            text, tokens = "é💥x"[: rng.randrange(4)] + str(number), rng.choice((1, 1, 1, 2, 0))
            log.grow(kind, text, tokens)
            events.append({kind: text, "n": tokens})
    log.close()
    return log, events


@pytest.mark.parametrize("length", [0, 1, 2, 63, 64, 65, 128, 400])
async def test_every_index_of_a_log_gives_exactly_what_came_after_it(length: int) -> None:
    log, events = a_log(random.Random(length), length)
    for start in range(length + 2):
        seen, n = [event async for event in log.follow(start)], start
        for kind in ("t", "r"):
            assert "".join(e.get(kind, "") for e in seen) == "".join(e.get(kind, "") for e in events[start:])
        assert [e for e in seen if "notice" in e] == [e for e in events[start:] if "notice" in e]
        texts = [event for event in seen if "notice" not in event]
        assert sum(e.get("n", 1) for e in texts) == sum(e["n"] for e in events[start:] if "n" in e)
        for event in seen:
            n = event.get("i", n + 1)
        assert n == max(start, length)
    assert log.text("t") == "".join(event.get("t", "") for event in events)


async def test_a_reader_at_the_end_gets_each_piece_as_it_comes() -> None:
    log, seen = ReplyLog(), []

    async def read() -> None:
        seen.extend([event async for event in log.follow(0)])

    reader = asyncio.create_task(read())
    for number in range(200):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.grow("t", f"{number},")
    log.close()
    await asyncio.wait_for(reader, 20)
    assert "".join(event["t"] for event in seen) == "".join(f"{number}," for number in range(200))
    assert len(seen) > 150


async def test_a_long_log_costs_few_bytes_a_token() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        log = ReplyLog()
        for number in range(20_000):
            log.grow("t", f" w{number % 100}")
        assert (tracemalloc.get_traced_memory()[0] - before) / 20_000 < 40
        assert len(log) == 20_000
    finally:
        tracemalloc.stop()

"""Replies with a pipeline and a disk that misbehave on demand."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from modules import replies as replies_module
from modules.chat_store import ChatStore
from modules.chats import MessageNode
from modules.errors import NotFound, StorageError
from modules.events import Events
from modules.generation import Generation
from modules.replies import Replies
from modules.reply_log import ReplyLog
from modules.types import Chunk, Done, Failed, GenerationRequest, Ledger, Notice, Reasoning, Stats, Text

pytestmark = pytest.mark.anyio
REQUEST = GenerationRequest(id="r", messages=())
Script = Callable[[], AsyncGenerator[Chunk, None]]


class Pipeline(Generation):
    """Stands for the pipeline: runs a script, and remembers that it was closed."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.closed = asyncio.Event()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        try:
            async for chunk in self.script():
                yield chunk
        finally:
            self.closed.set()


class Disk(ChatStore):
    """A real store whose disk is full while `full` is set. `saved` counts what reached it."""

    full = False
    saved = 0

    def _look(self) -> None:
        if self.full:
            raise StorageError("The disk is full.", hint="Make room.")
        self.saved += 1

    def partial(self, *args: Any, **kwargs: Any) -> None:
        self._look()
        super().partial(*args, **kwargs)

    def finish(self, *args: Any, **kwargs: Any) -> MessageNode:
        self._look()
        return super().finish(*args, **kwargs)

    def save_waiting(self, chat: str) -> None:
        self._look()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; fails when it never becomes true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def words(count: int, pause: float = 0.0) -> AsyncGenerator[Chunk, None]:
    yield Ledger(100, 7, 10, 1, 0)
    for number in range(count):
        await asyncio.sleep(pause)
        yield Text(f"w{number} ")
    yield Done("stop", Stats(prompt_tokens=7, completion_tokens=count))


@pytest.fixture
async def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    monkeypatch.setattr(replies_module, "PARTIAL_SECONDS", 0.05)
    monkeypatch.setattr(replies_module, "RETRY_SECONDS", 0.05)
    made = Parts(tmp_path)
    yield made
    await made.replies.close()
    made.disk.close()


class Parts:
    """What a test of one reply needs."""

    def __init__(self, folder: Path) -> None:
        self.disk = Disk(folder)
        self.events = Events()
        self.events.bind()
        self.heard = self.events.subscribe()
        self.pipeline = Pipeline(lambda: words(5))
        self.replies = Replies(self.disk, self.pipeline, self.events)
        self.chat = self.disk.create()
        self.asked = self.disk.add_message(self.chat.id, None, "user", "x")

    def start(self, script: Script | None = None, continue_of: str | None = None) -> MessageNode:
        if script is not None:
            self.pipeline.script = script
        node = self.disk.begin_reply(self.chat.id, self.asked.id, "m", continue_of)
        self.replies.start(self.chat.id, node, REQUEST)
        return node

    async def events_of(self, node: MessageNode, start: int = 0) -> list[dict[str, Any]]:
        async with asyncio.timeout(5):
            return [event async for event in await self.replies.follow(self.chat.id, node.id, start)]

    def kept(self, node: MessageNode) -> MessageNode:
        return self.disk.get(self.chat.id).messages[node.id]

    async def written(self, node: MessageNode, pieces: int) -> None:
        """Wait until so many pieces of a reply have come."""
        reply = self.replies.find(node.id)
        assert reply is not None
        await until(lambda: reply.size >= pieces)

    async def notices(self) -> list[str]:
        found: list[str] = []
        while self.heard._queue:
            event = await anext(self.heard)
            if event["type"] == "notice":
                found.append(event["level"])
        return found


async def test_a_reply_is_finished_with_everything_that_came(parts: Parts) -> None:
    async def script() -> AsyncGenerator[Chunk, None]:
        yield Notice("model_loaded", "It was loaded.")
        yield Reasoning("hm", 2)
        async for chunk in words(3):
            yield chunk

    node = parts.start(script)
    events = await parts.events_of(node)
    kept = parts.kept(node)
    assert (kept.text, kept.reasoning, kept.state, kept.finish_reason) == ("w0 w1 w2 ", "hm", "done", "stop")
    assert kept.notices[0]["code"] == "model_loaded"
    assert kept.ledger is not None
    assert kept.ledger["prompt_tokens"] == 7
    assert kept.stats == events[-1]["done"]["stats"]
    assert events[-1]["done"]["rev"] == parts.disk.get(parts.chat.id).rev


async def test_partials_reach_the_disk_while_it_is_written(parts: Parts) -> None:
    node = parts.start(lambda: words(10_000, 0.005))
    await until(lambda: parts.kept(node).text.startswith("w0 w1 "))
    assert parts.kept(node).state == "running"
    assert await parts.replies.stop(node.id)


async def test_a_full_disk_does_not_end_a_reply_and_is_told_once(parts: Parts) -> None:
    parts.disk.full = True
    node = parts.start(lambda: words(40, 0.01))
    events = await parts.events_of(node)
    assert events[-1]["done"]["reason"] == "stop"
    assert "".join(event.get("t", "") for event in events).startswith("w0 w1 ")
    assert await parts.notices() == ["error"]
    live = parts.replies.with_live_text(parts.disk.get(parts.chat.id).as_dict())
    assert live["messages"][-1]["state"] == "done"
    assert live["messages"][-1]["text"].endswith("w39 ")
    parts.disk.full = False
    reply = parts.replies.find(node.id)
    assert reply is not None
    await until(lambda: reply.saved)
    assert await parts.notices() == ["info"]


async def test_stop_closes_the_pipeline_and_says_what_there_was(parts: Parts) -> None:
    node = parts.start(lambda: words(10_000, 0.01))
    await parts.written(node, 5)
    assert await parts.replies.stop(node.id)
    assert parts.pipeline.closed.is_set()
    done = (await parts.events_of(node))[-1]["done"]
    assert done["reason"] == "cancelled"
    assert done["stats"]["completion_tokens"] > 2
    assert done["stats"]["prompt_tokens"] == 7
    assert parts.kept(node).state == "stopped"
    assert not await parts.replies.stop(node.id)
    assert not await parts.replies.stop("no such reply")


async def test_stop_right_after_the_start_ends_it_too(parts: Parts) -> None:
    node = parts.start(lambda: words(1000, 0.01))
    assert await parts.replies.stop(node.id)
    assert parts.kept(node).state == "stopped"


async def test_a_failed_reply_keeps_its_text_and_error(parts: Parts) -> None:
    async def script() -> AsyncGenerator[Chunk, None]:
        yield Text("half ")
        yield Failed({"message": "It ended.", "hint": "Try again.", "code": "engine_crashed", "status": 500})

    node = parts.start(script)
    events = await parts.events_of(node)
    assert events[-1]["failed"] == {
        "message": "It ended.", "hint": "Try again.", "code": "engine_crashed", "rev": parts.kept(node).rev,
    }  # fmt: skip
    assert (parts.kept(node).state, parts.kept(node).text) == ("failed", "half ")


async def test_a_fault_of_ours_fails_the_reply_and_nothing_else(parts: Parts) -> None:
    async def script() -> AsyncGenerator[Chunk, None]:
        yield Text("half ")
        raise ValueError("a bug")

    node = parts.start(script)
    assert (await parts.events_of(node))[-1]["failed"]["code"] == "engine_error"
    assert parts.kept(node).text == "half "


async def test_the_end_of_the_server_saves_every_reply(parts: Parts) -> None:
    nodes = [parts.start(lambda: words(10_000, 0.01)) for _ in range(5)]
    for node in nodes:
        await parts.written(node, 2)
    await parts.replies.close()
    assert [parts.kept(node).state for node in nodes] == ["stopped"] * 5
    assert all(parts.kept(node).text for node in nodes)


async def test_a_reply_started_while_the_server_ends_is_ended_too(parts: Parts) -> None:
    await parts.replies.close()
    node = parts.start(lambda: words(1000, 0.01))
    assert (await parts.events_of(node))[-1]["done"]["reason"] == "cancelled"


async def test_followers_that_leave_disturb_nobody(parts: Parts) -> None:
    node = parts.start(lambda: words(30, 0.01))
    stays = asyncio.create_task(parts.events_of(node))
    for _ in range(10):
        leaves = asyncio.create_task(parts.events_of(node))
        await asyncio.sleep(0.01)
        leaves.cancel()
    text = "".join(event.get("t", "") for event in await stays)
    assert text == "".join(f"w{number} " for number in range(30))


async def test_a_continued_reply_begins_with_the_old_text(parts: Parts) -> None:
    first = parts.start(lambda: words(2))
    await parts.events_of(first)
    second = parts.start(lambda: words(1), continue_of=first.id)
    events = await parts.events_of(second)
    assert "".join(event.get("t", "") for event in events) == "w0 w1 w0 "
    assert sum(event.get("n", 1) for event in events if "t" in event) == 1
    assert parts.kept(second).text == "w0 w1 w0 "


async def test_another_chats_reply_is_not_found(parts: Parts) -> None:
    node = parts.start(lambda: words(2))
    other = parts.disk.create()
    with pytest.raises(NotFound):
        await parts.replies.follow(other.id, node.id)
    await parts.events_of(node)


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
    await asyncio.wait_for(reader, 2)
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

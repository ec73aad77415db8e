"""Replies of chats, with a stream and a disk that misbehave on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modules.chats.store import ChatStore
from modules.chats.values import MessageNode
from modules.conversation.chat_replies import ChatReplies, ChatSink
from modules.errors import Conflict, NotFound, StorageError
from modules.events import Events
from modules.generation.stop_signal import StopSignal
from modules.replies import running as replies_module
from modules.replies.running import Replies
from modules.types import Chunk, Done, Failed, Ledger, Notice, Reasoning, Stats, Text
from tests.chats.helpers import again

pytestmark = pytest.mark.anyio
Script = Callable[[], AsyncGenerator[Chunk, None]]


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
        super().save_waiting(chat)


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition; fails when it never becomes true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def words(
    count: int, pause: float = 0.0, holds: Mapping[int, asyncio.Event] | None = None
) -> AsyncGenerator[Chunk, None]:
    """So many words, `pause` seconds between them; a word in `holds` only once its event is set."""
    yield Ledger(100, 7, 10, 1, 0)
    for number in range(count):
        await asyncio.sleep(pause)
        if holds is not None and number in holds:
            await holds[number].wait()
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
        self.closed = asyncio.Event()
        self.replies = Replies(self.events)
        self.of_chats = ChatReplies(self.disk, self.replies)
        self.chat = self.disk.create()
        self.asked = self.disk.add_message(self.chat.id, None, "user", "x")

    async def start(self, script: Script = lambda: words(5), continue_of: str | None = None) -> MessageNode:
        async def source(stop: StopSignal) -> AsyncGenerator[Chunk, None]:
            try:
                async for chunk in script():
                    yield chunk
            except asyncio.CancelledError:
                assert stop.caught()
                yield Done("cancelled", Stats(prompt_tokens=7, completion_tokens=3))
            finally:
                self.closed.set()

        sink = ChatSink(self.disk, self.events, self.chat.id, self.asked.id, "m", continue_of)
        await self.replies.start(sink, source)
        assert sink.node is not None
        return sink.node

    async def events_of(self, node: MessageNode, start: int = 0) -> list[dict[str, Any]]:
        async with asyncio.timeout(30):
            return [event async for event in await self.of_chats.follow(self.chat.id, node.id, start)]

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

    node = await parts.start(script)
    events = await parts.events_of(node)
    kept = parts.kept(node)
    assert (kept.text, kept.reasoning, kept.state, kept.finish_reason) == ("w0 w1 w2 ", "hm", "done", "stop")
    assert kept.notices[0]["code"] == "model_loaded"
    assert kept.ledger is not None
    assert kept.ledger["prompt_tokens"] == 7
    assert kept.stats == events[-1]["done"]["stats"]
    assert events[-1]["done"]["rev"] == parts.disk.get(parts.chat.id).rev


async def test_partials_reach_the_disk_while_it_is_written(parts: Parts) -> None:
    node = await parts.start(lambda: words(10_000, 0.005))
    await until(lambda: parts.kept(node).text.startswith("w0 w1 "))
    assert parts.kept(node).state == "running"
    assert await parts.replies.stop(node.id)


async def test_a_full_disk_does_not_end_a_reply_and_is_told_once(parts: Parts) -> None:
    parts.disk.full = True
    node = await parts.start(lambda: words(40, 0.01))
    events = await parts.events_of(node)
    assert events[-1]["done"]["reason"] == "stop"
    assert "".join(event.get("t", "") for event in events).startswith("w0 w1 ")
    assert await parts.notices() == ["error"]
    live = parts.of_chats.with_live_text(parts.disk.get(parts.chat.id).as_dict())
    assert live["messages"][-1]["state"] == "done"
    assert live["messages"][-1]["text"].endswith("w39 ")
    parts.disk.full = False
    reply = parts.replies.find(node.id)
    assert reply is not None
    await until(lambda: reply.saved)
    assert await parts.notices() == ["info"]


@pytest.mark.parametrize("away_at", ["partials", "end"])
async def test_a_reply_whose_folder_is_away_for_a_moment_is_whole_in_the_end(parts: Parts, away_at: str) -> None:
    second, last = asyncio.Event(), asyncio.Event()
    node = await parts.start(lambda: words(20, 0.01, {1: second, 19: last}))
    await until(lambda: parts.kept(node).text.startswith("w0 "))
    away = parts.disk.folder.rename(parts.disk.folder.with_name("away"))
    reply = parts.replies.find(node.id)
    assert reply is not None
    second.set()
    if away_at == "partials":
        await until(lambda: reply.trouble_told)
        assert not reply.ended
    else:
        last.set()
        await reply.finished.wait()
        assert not reply.saved
    away.rename(parts.disk.folder)
    last.set()
    await until(lambda: reply.saved)
    kept = again(parts.disk, parts.chat.id).messages[node.id]
    assert (kept.state, kept.text) == ("done", "".join(f"w{number} " for number in range(20)))
    assert await parts.notices() == ["error", "info"]


async def test_a_reply_whose_file_is_removed_is_told_and_written_anew(parts: Parts) -> None:
    node = await parts.start(lambda: words(5, 0.01))
    (parts.disk.folder / f"{parts.chat.id}.jsonl").unlink()
    await parts.events_of(node)
    reply = parts.replies.find(node.id)
    assert reply is not None
    await until(lambda: reply.saved)
    assert again(parts.disk, parts.chat.id).messages[node.id].text == "w0 w1 w2 w3 w4 "
    assert await parts.notices() == ["error", "info"]


@pytest.mark.parametrize("when", ["first", "retry"])
async def test_an_end_that_can_never_be_saved_is_told_and_dropped(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(replies_module, "KEEP_SECONDS", 0.2)
    answers: list[Exception] = [StorageError("Full.")] if when == "retry" else []

    def refuse(*args: Any, **kwargs: Any) -> MessageNode:
        raise answers.pop() if answers else NotFound("This message does not exist any more.")

    monkeypatch.setattr(parts.disk, "finish", refuse)
    node = await parts.start()
    assert (await parts.events_of(node))[-1]["done"]["reason"] == "stop"
    await until(lambda: parts.replies.find(node.id) is None)
    assert await parts.notices() == ["error"] * (2 if when == "retry" else 1)
    assert not parts.replies._retries


async def test_an_end_that_met_another_program_is_saved_by_the_next_try(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = parts.disk.finish, [Conflict("Changed by another program.")]

    def finish(*args: Any, **kwargs: Any) -> MessageNode:
        if answers:
            raise answers.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(parts.disk, "finish", finish)
    node = await parts.start()
    await parts.events_of(node)
    reply = parts.replies.find(node.id)
    assert reply is not None
    await until(lambda: reply.saved)
    assert again(parts.disk, parts.chat.id).messages[node.id].state == "done"


async def test_a_reply_is_stopped_only_under_its_own_chat(parts: Parts) -> None:
    node = await parts.start(lambda: words(1000, 0.01))
    other = parts.disk.create()
    for chat, message in ((other.id, node.id), (parts.chat.id, "nothing"), (parts.chat.id, parts.asked.id)):
        with pytest.raises(NotFound):
            await parts.of_chats.stop(chat, message)
    assert parts.kept(node).state == "running"
    assert await parts.of_chats.stop(parts.chat.id, node.id)
    assert not await parts.of_chats.stop(parts.chat.id, node.id)
    parts.replies._forget(parts.replies._live[node.id])
    assert not await parts.of_chats.stop(parts.chat.id, node.id)


async def test_stop_closes_the_pipeline_and_says_what_there_was(parts: Parts) -> None:
    node = await parts.start(lambda: words(10_000, 0.01))
    await parts.written(node, 5)
    assert await parts.replies.stop(node.id)
    assert parts.closed.is_set()
    done = (await parts.events_of(node))[-1]["done"]
    assert done["reason"] == "cancelled"
    assert done["stats"]["completion_tokens"] == 3
    assert done["stats"]["prompt_tokens"] == 7
    assert parts.kept(node).state == "stopped"
    assert not await parts.replies.stop(node.id)
    assert not await parts.replies.stop("no such reply")


async def test_stop_right_after_the_start_ends_it_too(parts: Parts) -> None:
    node = await parts.start(lambda: words(1000, 0.01))
    assert await parts.replies.stop(node.id)
    assert parts.kept(node).state == "stopped"


async def test_a_failed_reply_keeps_its_text_and_error(parts: Parts) -> None:
    async def script() -> AsyncGenerator[Chunk, None]:
        yield Text("half ")
        yield Failed({"message": "It ended.", "hint": "Try again.", "code": "engine_crashed", "status": 500})

    node = await parts.start(script)
    events = await parts.events_of(node)
    assert events[-1]["failed"] == {
        "message": "It ended.", "hint": "Try again.", "code": "engine_crashed", "rev": parts.kept(node).rev,
    }  # fmt: skip
    assert (parts.kept(node).state, parts.kept(node).text) == ("failed", "half ")


async def test_a_fault_of_ours_fails_the_reply_and_nothing_else(parts: Parts) -> None:
    async def script() -> AsyncGenerator[Chunk, None]:
        yield Text("half ")
        raise ValueError("a bug")

    node = await parts.start(script)
    assert (await parts.events_of(node))[-1]["failed"]["code"] == "engine_error"
    assert parts.kept(node).text == "half "


async def test_the_end_of_the_server_saves_every_reply(parts: Parts) -> None:
    nodes = [await parts.start(lambda: words(10_000, 0.01)) for _ in range(5)]
    for node in nodes:
        await parts.written(node, 2)
    await parts.replies.close()
    assert [parts.kept(node).state for node in nodes] == ["stopped"] * 5
    assert all(parts.kept(node).text for node in nodes)


async def test_a_reply_started_while_the_server_ends_is_ended_too(parts: Parts) -> None:
    await parts.replies.close()
    node = await parts.start(lambda: words(1000, 0.01))
    assert (await parts.events_of(node))[-1]["done"]["reason"] == "cancelled"


async def test_followers_that_leave_disturb_nobody(parts: Parts) -> None:
    node = await parts.start(lambda: words(30, 0.01))
    stays = asyncio.create_task(parts.events_of(node))
    for _ in range(10):
        leaves = asyncio.create_task(parts.events_of(node))
        await asyncio.sleep(0.01)
        leaves.cancel()
    text = "".join(event.get("t", "") for event in await stays)
    assert text == "".join(f"w{number} " for number in range(30))


async def test_a_continued_reply_begins_with_the_old_text(parts: Parts) -> None:
    first = await parts.start(lambda: words(2))
    await parts.events_of(first)
    second = await parts.start(lambda: words(1), continue_of=first.id)
    events = await parts.events_of(second)
    assert "".join(event.get("t", "") for event in events) == "w0 w1 w0 "
    assert sum(event.get("n", 1) for event in events if "t" in event) == 1
    assert parts.kept(second).text == "w0 w1 w0 "


async def test_another_chats_reply_is_not_found(parts: Parts) -> None:
    node = await parts.start(lambda: words(2))
    other = parts.disk.create()
    with pytest.raises(NotFound):
        await parts.of_chats.follow(other.id, node.id)
    await parts.events_of(node)

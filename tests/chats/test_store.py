"""modules/chats/store.py: what a call returned is on the disk, and nothing is ever overwritten."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modules.chats.store import ChatStore
from modules.disk import durable
from modules.errors import BadRequest, Conflict, NotFound
from modules.types import Ledger, Notice, Stats
from tests.chats.helpers import again, ask, turn


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    with closing(ChatStore(tmp_path / "chats")) as made:
        yield made


def test_a_turn_is_saved_step_by_step(store: ChatStore) -> None:
    chat = store.create().id
    asked = ask(store, chat)
    assert again(store, chat).messages[asked.id].text == "Hello"
    reply = store.begin_reply(chat, asked.id, "echo")
    assert (reply.state, reply.text, reply.model) == ("running", "", "echo")
    store.partial(chat, reply.id, "Hi", "they greet")
    assert again(store, chat).messages[reply.id].text == "Hi"
    done = store.finish(
        chat, reply.id, "Hi there", "they greet me", "done", Stats(prompt_tokens=3, completion_tokens=2),
        [Notice("loader_chosen", "why")], Ledger(100, 3, 50, 1, 0), None, "stop",
    )  # fmt: skip
    assert (done.state, done.text, done.reasoning, done.finish_reason) == (
        "done", "Hi there", "they greet me", "stop"
    )  # fmt: skip
    assert done.stats is not None
    assert done.stats["tokens_per_second"] == 0
    assert done.notices[0]["code"] == "loader_chosen"
    assert done.ledger is not None
    assert done.ledger["limit"] == 100
    assert again(store, chat) == store.get(chat)
    assert [node.id for node in store.get(chat).path()] == [asked.id, reply.id]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", done.created)


def test_an_edit_and_a_new_try_are_further_versions(store: ChatStore) -> None:
    chat = store.create().id
    first = turn(store, chat)
    asked = store.get(chat).messages[first.parent or ""]
    second = store.finish(chat, store.begin_reply(chat, asked.id, "echo").id, "Hello again.")
    edited = store.add_message(chat, asked.parent, "user", "Hello?")
    now = store.get(chat)
    assert [node.text for node in now.siblings(first.id)] == ["Hi.", "Hello again."]
    assert [node.text for node in now.siblings(asked.id)] == ["Hello", "Hello?"]
    assert now.leaf == edited.id
    store.select(chat, asked.id)
    assert store.get(chat).leaf == second.id


def test_continuing_begins_a_version_with_the_old_text(store: ChatStore) -> None:
    chat = store.create().id
    cut = turn(store, chat, "Once upon")
    more = store.begin_reply(chat, cut.parent, "echo", continue_of=cut.id)
    assert (more.text, more.continue_of) == ("Once upon", cut.id)
    store.partial(chat, more.id, "Once upon a time")
    store.finish(chat, more.id, "Once upon a time.")
    assert again(store, chat).messages[more.id].text == "Once upon a time."
    assert again(store, chat).messages[cut.id].text == "Once upon"


def test_replies_of_a_dead_server_come_back_interrupted(tmp_path: Path) -> None:
    store = ChatStore(tmp_path)
    chat = store.create().id
    reply = store.begin_reply(chat, ask(store, chat).id, "echo")
    store.partial(chat, reply.id, "half an ans")
    store._lock.release()  # the process is gone: nothing was closed
    with closing(ChatStore(tmp_path)) as after:
        node = after.get(chat).messages[reply.id]
        assert (node.state, node.text) == ("interrupted", "half an ans")
        assert after.finish(chat, reply.id, "other").text == "half an ans", "it cannot end twice"
        with pytest.raises(Conflict):
            after.partial(chat, reply.id, "half an answer")


def test_a_partial_line_holds_only_what_is_new(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    text = ""
    for number in range(200):
        text += f"piece {number} 🦀 "
        store.partial(chat, reply.id, text, "thinking")
    store.partial(chat, reply.id, text, "thinking")
    path = store.folder / f"{chat}.jsonl"
    assert path.stat().st_size < len(text.encode()) + 202 * 180
    assert again(store, chat).messages[reply.id].text == text
    assert path.read_bytes().count(b'"partial"') == 200
    store.partial(chat, reply.id, "taken back", "")
    assert again(store, chat).messages[reply.id].text == "taken back"


def test_saving_costs_the_same_in_a_long_chat(store: ChatStore, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {}
    for length in (0, 500):
        chat, parent = store.create().id, None
        for _ in range(length):
            parent = ask(store, chat, "x" * 200, parent).id
        reply = store.begin_reply(chat, parent, "echo")
        calls: list[tuple[str, int]] = []
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", Counting(calls))
            ask(store, chat, "y", parent)
            store.partial(chat, reply.id, "some text")
        costs[length] = [name for name, _ in calls], sum(size for _, size in calls)
    assert costs[0][0] == costs[500][0]
    assert abs(costs[0][1] - costs[500][1]) < 40, "a parent's id and longer numbers, no more"


class Counting:
    def __init__(self, calls: list[tuple[str, int]]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any) -> Any:
            self._calls.append((name, len(args[1]) if name == "write" else 0))
            return real(*args)

        return call if callable(real) else real


def test_a_stale_window_gets_a_conflict_and_loses_nothing(store: ChatStore) -> None:
    chat = store.create()
    asked = store.add_message(chat.id, None, "user", "one", chat.rev)
    stale: list[Callable[[], Any]] = [
        lambda: store.add_message(chat.id, None, "user", "two", chat.rev),
        lambda: store.rename(chat.id, "x", chat.rev),
        lambda: store.set_prompt(chat.id, "x", chat.rev),
        lambda: store.select(chat.id, asked.id, chat.rev),
        lambda: store.delete_message(chat.id, asked.id, chat.rev),
        lambda: store.undelete(chat.id, asked.id, chat.rev),
        lambda: store.begin_reply(chat.id, asked.id, None, None, chat.rev),
    ]
    for change in stale:
        with pytest.raises(Conflict, match="another window") as caught:
            change()
        assert "revision 1" in caught.value.hint
    assert store.get(chat.id).rev == asked.rev == 1
    assert store.add_message(chat.id, None, "user", "two", 1).rev == 2


def test_each_change_but_a_partial_is_a_new_revision(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    store.partial(chat, reply.id, "text")
    assert store.get(chat).rev == 1
    store.finish(chat, reply.id, "text")
    assert store.rename(chat, "Name") == 3
    assert store.set_prompt(chat, "Be kind.") == 4
    assert store.select(chat, reply.id) == 5
    assert store.get(chat).system == "Be kind."
    assert again(store, chat) == store.get(chat)


def test_deleting_messages_counts_them_and_can_be_undone(store: ChatStore) -> None:
    chat = store.create().id
    first = turn(store, chat)
    last = turn(store, chat, parent=first.id)
    assert store.delete_message(chat, first.id) == 3
    assert [node.text for node in store.get(chat).messages.values()] == ["Hello"]
    for gone in (first.id, last.id):
        with pytest.raises(NotFound):
            store.add_message(chat, gone, "user", "x")
    with pytest.raises(Conflict):
        store.undelete(chat, last.id)
    assert store.undelete(chat, first.id) == 3
    assert store.get(chat).leaf == last.id
    assert again(store, chat) == store.get(chat)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\\b", "x" * 65, "nul\0", "abc", "con.x", "é", ".trash"])
def test_what_is_no_id_of_a_chat_is_not_found(store: ChatStore, name: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: store.get(name), lambda: store.delete(name), lambda: store.restore(name),
        lambda: store.rename(name, "x"), lambda: store.export(name, "jsonl"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFound):
            call()


def test_nonsense_is_refused_before_it_is_saved(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    before = (store.folder / f"{chat}.jsonl").read_bytes()
    calls: list[tuple[type[Exception], Callable[[], Any]]] = [
        (BadRequest, lambda: store.add_message(chat, None, "robot", "x")),
        (NotFound, lambda: store.add_message(chat, "nobody", "user", "x")),
        (NotFound, lambda: store.begin_reply(chat, "nobody", None)),
        (NotFound, lambda: store.begin_reply(chat, None, None, "nobody")),
        (BadRequest, lambda: store.finish(chat, reply.id, "", "", "running")),
        (NotFound, lambda: store.finish(chat, "nobody", "")),
        (NotFound, lambda: store.select(chat, "nobody")),
        (NotFound, lambda: store.delete_message(chat, "nobody")),
        (NotFound, lambda: store.undelete(chat, "nobody")),
        (Conflict, lambda: store.undelete(chat, reply.id)),
    ]
    for error, call in calls:
        with pytest.raises(error):
            call()
    assert (store.folder / f"{chat}.jsonl").read_bytes() == before


def test_text_that_no_file_can_hold_is_made_clean(store: ChatStore) -> None:
    chat = store.create("a\ud800b\n c").id
    reply = store.begin_reply(chat, ask(store, chat, "half \udc00 sign").id, "m\ud800")
    store.partial(chat, reply.id, "x\ud83dy")
    store.finish(chat, reply.id, "x\ud83dy", stats={"speed": float("nan"), "k": {1, 2}}, error={"message": "\ud800"})
    found = store.get(chat)
    assert again(store, chat) == found
    assert found.title == "a\ufffdb c"
    assert found.messages[reply.id].text == "x\ufffdy"
    assert found.messages[reply.id].stats == {"speed": None, "k": [1, 2]}


# ── the trash ───────────────────────────────────────────────────────────────────────────────────────


def test_a_deleted_chat_is_gone_and_comes_back(store: ChatStore) -> None:
    chat = store.create("Mine").id
    turn(store, chat)
    before = store.get(chat)
    store.delete(chat)
    for call in (store.get, store.delete):
        with pytest.raises(NotFound):
            call(chat)
    assert store.list() == []
    assert store.restore(chat) == before
    assert [row.id for row in store.list()] == [chat]
    with pytest.raises(NotFound):
        store.restore(chat)
    assert store.get(chat) == before


def test_a_reply_that_runs_while_its_chat_is_deleted_is_not_lost(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    store.delete(chat)
    with pytest.raises(NotFound):
        store.get(chat)
    store.partial(chat, reply.id, "still")
    store.finish(chat, reply.id, "still here")
    assert store.restore(chat).messages[reply.id].text == "still here"
    assert again(store, chat) == store.get(chat)


def test_a_chat_restored_while_its_reply_runs_goes_on(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    store.delete(chat)
    assert store.restore(chat).messages[reply.id].state == "running"
    store.finish(chat, reply.id, "there")
    assert again(store, chat).messages[reply.id].text == "there"


def test_the_trash_is_emptied_after_thirty_days_and_not_before(tmp_path: Path) -> None:
    ids: dict[int, str] = {}
    for days in (0, 29, 31, 400):
        with closing(ChatStore(tmp_path)) as store:
            ids[days] = store.create().id
            store.delete(ids[days])
        time = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y%m%dT%H%M%SZ")
        trashed = next((tmp_path / ".trash").glob(f"{ids[days]}*"))
        trashed.rename(trashed.with_name(f"{ids[days]}.deleted-{time}.jsonl"))
    with closing(ChatStore(tmp_path)) as store:
        for days in (31, 400):
            with pytest.raises(NotFound, match="not in the trash"):
                store.restore(ids[days])
        for days in (0, 29):
            assert store.restore(ids[days]).id == ids[days]

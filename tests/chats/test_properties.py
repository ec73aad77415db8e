"""Random things done to a chat: memory and disk agree, and nothing anybody saved is ever lost."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modules.chats import journal as chat_journal
from modules.chats import records as chat_records
from modules.chats.store import ChatStore
from modules.disk import durable
from modules.errors import Conflict, NotFound, StorageError
from tests.chats.helpers import FullDisk, again

TEXT = st.text(max_size=30)


class AnyChat(RuleBasedStateMachine):
    """One chat under random changes, with restarts and full disks between, beside a list of all that was said."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.disk = FullDisk()
        self.patches = [
            # The same history has the same ids, so that a failing one can be told again.
            mock.patch.object(chat_records, "new_id", side_effect=(f"id{number:04}" for number in itertools.count())),
            mock.patch.object(durable, "os", self.disk),
            mock.patch.object(chat_journal, "COMPACT_FROM", 200),
        ]
        for patch in self.patches:
            patch.start()
        self.said: dict[str, str] = {}
        self.running: dict[str, str] = {}

    def teardown(self) -> None:
        self.store.close()
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.store = ChatStore(self.folder)
        self.chat = self.store.create().id

    def one(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from([None, *self.store.get(self.chat).messages]))

    @rule(data=st.data(), text=TEXT)
    def say(self, data: st.DataObject, text: str) -> None:
        node = self.store.add_message(self.chat, self.one(data), "user", text)
        self.said[node.id] = text

    @rule(data=st.data())
    def begin_reply(self, data: st.DataObject) -> None:
        node = self.store.begin_reply(self.chat, self.one(data), "echo")
        self.running[node.id] = self.said[node.id] = ""

    @precondition(lambda self: self.running)
    @rule(data=st.data(), text=TEXT.filter(bool))
    def grow(self, data: st.DataObject, text: str) -> None:
        reply = data.draw(st.sampled_from(sorted(self.running)))
        self.running[reply] += text
        self.store.partial(self.chat, reply, self.running[reply], "hm")
        self.said[reply] = self.running[reply]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), text=TEXT, full=st.booleans())
    def finish(self, data: st.DataObject, text: str, full: bool) -> None:
        reply = data.draw(st.sampled_from(sorted(self.running)))
        self.disk.full = full
        with suppress(StorageError):
            self.store.finish(self.chat, reply, text, "", "done")
        self.disk.full = False
        del self.running[reply]
        self.said[reply] = text
        if full:
            self.store.save_waiting(self.chat)

    @rule(data=st.data())
    def select(self, data: st.DataObject) -> None:
        leaf = self.one(data)
        if leaf is not None:
            self.store.select(self.chat, leaf)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        message = self.one(data)
        if message is not None:
            before = len(self.store.get(self.chat).messages)
            gone = self.store.delete_message(self.chat, message)
            assert len(self.store.get(self.chat).messages) == before - gone

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def undelete(self, data: st.DataObject) -> None:
        before = len(self.store.get(self.chat).messages)
        with suppress(Conflict):
            back = self.store.undelete(self.chat, data.draw(st.sampled_from(sorted(self.said))))
            assert len(self.store.get(self.chat).messages) == before + back

    @rule(text=TEXT)
    def rename(self, text: str) -> None:
        self.store.rename(self.chat, text)

    @rule(data=st.data(), text=TEXT)
    def say_on_a_full_disk(self, data: st.DataObject, text: str) -> None:
        before = self.store.get(self.chat)
        self.disk.full = True
        try:
            with pytest.raises(StorageError):
                self.store.add_message(self.chat, self.one(data), "user", text)
        finally:
            self.disk.full = False
        assert self.store.get(self.chat) == before

    @rule()
    def delete_and_restore(self) -> None:
        before = self.store.get(self.chat)
        self.store.delete(self.chat)
        with pytest.raises(NotFound):
            self.store.get(self.chat)
        assert self.store.restore(self.chat) == before

    @rule(torn=st.binary(max_size=10).filter(lambda raw: b"\n" not in raw))
    def die_and_come_back(self, torn: bytes) -> None:
        self.store._lock.release()
        with (self.folder / f"{self.chat}.jsonl").open("ab") as file:
            file.write(torn)
        self.store = ChatStore(self.folder)
        self.running.clear()

    @invariant()
    def memory_is_what_the_disk_tells(self) -> None:
        memory, disk = self.facts(self.store.get(self.chat)), self.facts(again(self.store, self.chat))
        assert memory == disk

    @invariant()
    def everything_said_is_there_visible_or_not(self) -> None:
        with self.store._table.using(self.chat) as session:
            assert {name: node.text for name, node in session.tree.nodes.items()} == self.said
            assert session.problems == []

    @invariant()
    def the_selected_message_is_visible_and_reached_from_the_first(self) -> None:
        chat = self.store.get(self.chat)
        if chat.leaf is not None:
            assert chat.path()[0].parent is None
            assert chat.path()[-1].id == chat.leaf
        assert all(node.parent is None or node.parent in chat.messages for node in chat.messages.values())

    @staticmethod
    def facts(chat: Any) -> Any:
        """Replies that run are found interrupted by somebody else."""
        found = chat.as_dict()
        for node in found["messages"]:
            node["state"] = "interrupted" if node["state"] == "running" else node["state"]
        return found


TestAnyChat = AnyChat.TestCase
TestAnyChat.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

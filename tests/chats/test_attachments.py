"""Attachments by content hash, and messages of a chat with parts, tool calls and speakers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modules.chats.attachments import AttachmentStore
from modules.chats.rebuild import records_of
from modules.chats.store import ChatStore
from modules.chats.tree import Tree
from modules.errors import BadRequest, NotFound, StorageError, TooLarge
from modules.messages.parts import FilePart, FunctionCall, ImagePart, TextPart
from tests.chats.helpers import again


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    with closing(ChatStore(tmp_path / "chats")) as made:
        yield made


def test_the_same_bytes_are_kept_once_under_their_hash(tmp_path: Path) -> None:
    files = AttachmentStore(tmp_path / "files")
    name = files.put(b"hello")
    assert name == files.put(b"hello") == hashlib.sha256(b"hello").hexdigest()
    assert files.get(name) == b"hello"
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == [name]


def test_a_file_too_large_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        AttachmentStore(tmp_path / "files", most_bytes=4).put(b"hello")
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("name", ["", "../../secret", "A" * 64, "0" * 63, "0" * 64, "/etc/passwd"])
def test_what_is_no_hash_or_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    files = AttachmentStore(tmp_path)
    assert not files.has(name)
    with pytest.raises(NotFound):
        files.get(name)


def test_a_damaged_file_is_said_and_can_be_written_again(tmp_path: Path) -> None:
    files = AttachmentStore(tmp_path)
    name = files.put(b"hello")
    (tmp_path / name[:2] / name).write_bytes(b"hell")
    with pytest.raises(StorageError):
        files.get(name)
    files.put(b"hello")
    assert files.get(name) == b"hello"


def test_parts_calls_and_speakers_are_kept(store: ChatStore) -> None:
    chat = store.create().id
    image = FilePart(store.attachments.put(b"png"), "image/png", "cat.png")
    parts = (image, TextPart("Look"))
    asked = store.add_message(chat, None, "user", "Look", parts=parts, name="Ann")
    reply = store.begin_reply(chat, asked.id, "echo")
    call = FunctionCall("c1", "weather", '{"city": "Oslo"}')
    store.finish(chat, reply.id, "", finish_reason="tool_calls", tool_calls=(call,))
    told = store.add_message(chat, reply.id, "tool", "4 C", name="weather", tool_call_id="c1")
    now = again(store, chat)
    assert now == store.get(chat)
    assert (now.messages[asked.id].parts, now.messages[asked.id].content, now.messages[asked.id].name) == (
        parts, parts, "Ann",
    )  # fmt: skip
    assert now.messages[reply.id].tool_calls == (call,)
    assert (now.messages[told.id].tool_call_id, now.messages[told.id].content) == ("c1", (TextPart("4 C"),))
    whole = store.export(chat, "markdown").data.decode()
    assert all(one in whole for one in ("## Ann", "*Attached: cat.png*", "*Calls weather*", "## Tool (weather)"))
    tree = Tree(chat)
    tree.apply({"kind": "header", "time": now.created, "title": ""})
    with store._table.using(chat) as session:
        for record in records_of(session.tree):
            tree.apply(record)
    assert {name: node.as_dict() for name, node in tree.nodes.items()} == {
        name: node.as_dict() for name, node in now.messages.items()
    }


def test_what_a_journal_does_not_keep_is_refused(store: ChatStore) -> None:
    chat = store.create().id
    with pytest.raises(BadRequest):
        store.add_message(chat, None, "user", "x", parts=(ImagePart("aGk="), TextPart("x")))
    with pytest.raises(BadRequest):
        store.add_message(chat, None, "user", "y", parts=(TextPart("x"),))
    with pytest.raises(NotFound):
        store.add_message(chat, None, "user", "", parts=(FilePart("0" * 64, "image/png"),))
    with pytest.raises(BadRequest):
        store.add_message(chat, None, "wizard", "x")

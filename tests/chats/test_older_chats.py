"""Chats written by the version before messages had parts: they open, go on and are exported as they were.

The journals in fixtures/ were written by commit f2abb84, with what that version read (.json) and exported (.md).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modules.chats.store import ChatStore
from modules.types import Message
from tests.chats.helpers import again

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = sorted(path.stem for path in FIXTURES.glob("*.jsonl"))
NEW: dict[str, Any] = {"parts": [], "name": "", "tool_calls": [], "tool_call_id": ""}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    for name in NAMES:
        shutil.copy(FIXTURES / f"{name}.jsonl", tmp_path / f"{id_of(name)}.jsonl")
    with closing(ChatStore(tmp_path)) as made:
        yield made


def id_of(name: str) -> str:
    return str(read(name)["id"])


def read(name: str) -> dict[str, Any]:
    """The chat as the version that wrote it read it."""
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_older_chat_opens_as_it_was_and_its_file_is_not_changed(store: ChatStore, name: str) -> None:
    now = json.loads(json.dumps(store.get(id_of(name)).as_dict()))
    before = read(name)
    before["messages"] = [message | NEW for message in before["messages"]]
    assert now == before
    assert store.problems == []
    assert (store.folder / f"{id_of(name)}.jsonl").read_bytes() == (FIXTURES / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_older_chat_is_exported_as_it_was(store: ChatStore, name: str) -> None:
    assert store.export(id_of(name), "markdown").data == (FIXTURES / f"{name}.md").read_bytes()
    assert store.export(id_of(name), "jsonl").data == (FIXTURES / f"{name}.jsonl").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_older_chat_goes_on(store: ChatStore, name: str) -> None:
    chat = store.get(id_of(name))
    asked = store.add_message(chat.id, chat.leaf, "user", "And then?", chat.rev)
    reply = store.begin_reply(chat.id, asked.id, "echo")
    store.finish(chat.id, reply.id, "This.")
    path = [node.text for node in again(store, chat.id).path()]
    assert path == [node.text for node in chat.path()] + ["And then?", "This."]
    written = (store.folder / f"{chat.id}.jsonl").read_bytes()
    assert written.startswith((FIXTURES / f"{name}.jsonl").read_bytes())


def test_a_mark_for_images_typed_into_an_older_chat_is_text(store: ChatStore) -> None:
    texts = [Message(node.role, node.content) for node in store.get(id_of("branches")).path()]
    assert "And <__media__> here?" in [message.text for message in texts]
    assert not any(message.images for message in texts)

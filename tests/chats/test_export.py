"""modules/chats/export.py"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from modules.chats.store import ChatStore
from modules.errors import BadParameter
from tests.chats.helpers import ask, turn


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    with closing(ChatStore(tmp_path)) as made:
        yield made


def test_markdown_holds_the_selected_conversation_word_for_word(store: ChatStore) -> None:
    chat = store.create("Rust & iron").id
    store.set_prompt(chat, "Be brief.")
    code = "```python\n    def f():\n        return 1\n```\n\n<b>& co"
    asked = ask(store, chat, code)
    reply = store.begin_reply(chat, asked.id, "SmolLM2")
    store.finish(chat, reply.id, "Yes.", "Let me think.", "stopped")
    ask(store, chat, "another version")
    store.select(chat, reply.id)
    made = store.export(chat, "markdown")
    text = made.data.decode()
    assert made.name == "chat Rust iron.md"
    assert made.media_type.startswith("text/markdown")
    assert re.sub(r"\*\d{4}-\d\d-\d\d\*", "*day*", text) == (
        "# Rust & iron\n\n*day*\n\n## System\n\nBe brief.\n\n## You\n\n" + code + "\n\n## Assistant (SmolLM2)\n\n"
        "<details><summary>Thoughts</summary>\n\nLet me think.\n\n</details>\n\nYes.\n\n*(stopped here)*\n"
    )


def test_the_journal_is_handed_out_byte_for_byte_and_can_be_put_back(store: ChatStore, tmp_path: Path) -> None:
    chat = store.create("Mine").id
    turn(store, chat)
    made = store.export(chat, "jsonl")
    assert made.data == (tmp_path / f"{chat}.jsonl").read_bytes()
    (tmp_path / "imported.jsonl").write_bytes(made.data)
    assert store.get("imported").messages == store.get(chat).messages


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("../../etc/passwd", "chat etc passwd.md"),
        ('a"b\r\nX: y; <c>', "chat a b X y c.md"),
        ("日本語 é", "chat 日本語 é.md"),
        ("CON", "chat CON.md"),
        ("x" * 300, "chat " + "x" * 60 + ".md"),
    ],
)
def test_the_file_name_is_safe_everywhere(store: ChatStore, title: str, name: str) -> None:
    assert store.export(store.create(title).id, "markdown").name == name


def test_a_title_of_signs_only_falls_back_to_the_id(store: ChatStore) -> None:
    chat = store.create("???").id
    assert store.export(chat, "markdown").name == f"chat {chat}.md"


def test_another_form_is_refused(store: ChatStore) -> None:
    with pytest.raises(BadParameter, match="no export as"):
        store.export(store.create().id, "pdf")

"""modules/chats/index.py: a list that is right even when its file is gone, old or broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modules.chats import index as chat_index
from modules.chats.store import ChatStore
from modules.errors import BadParameter
from tests.chats.helpers import ask, turn

INDEX = ".index.sqlite"
NASTY = ["a OR", "NEAR(x", '""', "text:", "-a", "*", "a*", "\0abc", "\ud800"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    with closing(ChatStore(tmp_path)) as made:
        yield made


def found(store: ChatStore, query: str = "") -> list[str]:
    return [row.title for row in store.list(query)]


def library(store: ChatStore) -> dict[str, str]:
    """Four chats; title → id, oldest first."""
    ids = {}
    for title, text in (
        ("Rust", "What is oxidation?"), ("Tea", "Green or black tea, 100% of the time_s"),
        ("東京", "東京の天気はどうですか"), ("Code", 'def read_yaml(path): return "x"'),
    ):  # fmt: skip
        ids[title] = store.create(title).id
        ask(store, ids[title], text)
    return ids


def test_the_chat_used_last_comes_first(store: ChatStore) -> None:
    ids = library(store)
    assert found(store) == ["Code", "東京", "Tea", "Rust"]
    last = turn(store, ids["Rust"], "Iron\nand oxygen.")
    row = store.list()[0]
    assert (row.id, row.messages, row.snippet) == (ids["Rust"], 3, "Iron and oxygen.")
    assert row.updated >= last.created
    store.rename(ids["Tea"], "Coffee")
    assert found(store)[0] == "Rust", "a new name is no use"


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("oxid", ["Rust"]),
        ("OXIDATION what", ["Rust"]),
        ("rust", ["Rust"]),
        ("tea black", ["Tea"]),
        ("tea oxidation", []),
        ("天気は", ["東京"]),
        ("東京", ["東京"]),
        ("天", ["東京"]),
        ("read_y", ["Code"]),
        ("0%", ["Tea"]),
        ("e_s", ["Tea"]),
        ("_s", ["Tea"]),
        ("%", ["Tea"]),
        ('"x"', ["Code"]),
        ('"', ["Code"]),
        ("or", ["Tea"]),
        ("xyzzy", []),
        ("  ", ["Code", "東京", "Tea", "Rust"]),
    ],
)
def test_search_finds_parts_of_words_in_messages_and_titles(store: ChatStore, query: str, titles: list[str]) -> None:
    library(store)
    assert found(store, query) == titles


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(max_size=12) | st.sampled_from(["a OR", "NEAR(x", '""', "text:", "-a", "*", "a*", "\0abc", "\ud800"])
)
def test_no_query_breaks_the_search(store: ChatStore, query: str) -> None:
    if not store.list():
        library(store)
    store.list(query)
    assert len(store.list()) == 4


def test_the_snippet_shows_where_it_was_found(store: ChatStore) -> None:
    chat = store.create("Long").id
    ask(store, chat, "filler words " * 50 + "the needle is here, " + "more filler " * 50)
    ask(store, chat, "something else")
    snippet = store.list("needle")[0].snippet
    assert "the needle is here" in snippet
    assert len(snippet) < 140
    assert store.list("long")[0].snippet == "something else"


def test_deleted_messages_are_not_found_until_they_are_back(store: ChatStore) -> None:
    chat = store.create("C").id
    gone = ask(store, chat, "unmistakable")
    assert found(store, "mistak") == ["C"]
    store.delete_message(chat, gone.id)
    assert found(store, "mistak") == []
    store.undelete(chat, gone.id)
    assert found(store, "mistak") == ["C"]


def test_a_reply_is_found_by_its_final_text_only(store: ChatStore) -> None:
    chat = store.create("C").id
    reply = store.begin_reply(chat, None, "echo")
    assert found(store, "zebra") == []
    store.finish(chat, reply.id, "a zebra")
    assert found(store, "zebra") == ["C"]


def test_a_new_name_replaces_the_old_one(store: ChatStore) -> None:
    chat = store.create("Aardvark").id
    assert found(store, "aardvark") == ["Aardvark"]
    store.rename(chat, "Badger")
    assert found(store, "aardvark") == []
    assert found(store, "badger") == ["Badger"]


def test_the_automatic_title_is_replaced_too(store: ChatStore) -> None:
    chat = store.create().id
    assert len(store.list("new chat")) == 1
    ask(store, chat, "Weather")
    assert store.list("new chat") == []
    assert found(store, "weather") == ["Weather"]


def test_pages_hold_every_chat_once(store: ChatStore) -> None:
    ids = [store.create(f"Chat {number}").id for number in range(25)]
    seen: list[str] = []
    while page := store.list(limit=7, before=seen[-1] if seen else None):
        seen += [row.id for row in page]
    assert sorted(seen) == sorted(ids)
    assert store.list(before="2000-01-01T00:00:00.000Z") == []
    assert len(store.list("chat", limit=7, before=store.list("chat", limit=7)[-1].id)) == 7
    assert len(store.list(limit=-5)) == 1


def test_paging_goes_on_after_the_last_chat_seen_was_deleted_or_changed(store: ChatStore) -> None:
    ids = [store.create(f"Chat {number}").id for number in range(9)]
    for query in ("", "chat"):
        rows = store.list(query)
        for change in (store.delete, lambda chat: store.add_message(chat, None, "user", "newer")):
            page = store.list(query, limit=3)
            change(page[-1].id)
            rest = store.list(query, before=f"{page[-1].updated},{page[-1].id}")
            assert [row.id for row in rest] == [row.id for row in rows[rows.index(page[-1]) + 1 :]]
            rows = store.list(query)
    gone = next(chat for chat in ids if chat not in {row.id for row in store.list()})
    for nowhere in (gone, "x,y", ",", "2026"):
        with pytest.raises(BadParameter, match="no such place"):
            store.list(before=nowhere)


def test_a_chat_that_cannot_be_read_can_end_a_page_too(store: ChatStore) -> None:
    for name in ("aaa", "bbb"):
        (store.folder / f"{name}.jsonl").write_bytes(b"\xff" * 50 + b"\n")
    last = store.list(limit=1)[0]
    assert (last.updated, last.id) == ("", "bbb")
    assert [row.id for row in store.list(before=",bbb")] == ["aaa"]


@pytest.mark.parametrize("damage", ["gone", "garbage", "half", "foreign tables", "other version", "empty"])
def test_the_index_is_made_anew_when_its_file_is_unusable(tmp_path: Path, damage: str) -> None:
    with closing(ChatStore(tmp_path)) as store:
        library(store)
        store.list()
    file = tmp_path / INDEX
    raw = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage in ("foreign tables", "other version"):
        with closing(sqlite3.connect(file)) as base:
            base.execute("PRAGMA user_version = 99" if damage == "other version" else "DROP TABLE places")
            base.commit()
    else:
        file.write_bytes({"garbage": b"no database " * 900, "half": raw[: len(raw) // 2], "empty": b""}[damage])
    with closing(ChatStore(tmp_path)) as store:
        assert found(store) == ["Code", "東京", "Tea", "Rust"]
        assert found(store, "oxid") == ["Rust"]


def test_the_index_file_may_be_deleted_while_the_server_runs(store: ChatStore) -> None:
    ids = library(store)
    store.list()
    for file in store.folder.glob(INDEX + "*"):
        file.unlink()
    turn(store, ids["Tea"], "with milk")
    assert found(store, "milk") == ["Tea"]
    store.close()
    with closing(ChatStore(store.folder)) as after:
        assert found(after, "milk") == ["Tea"]


def test_the_index_follows_files_that_changed_while_nobody_looked(tmp_path: Path) -> None:
    with closing(ChatStore(tmp_path)) as store:
        ids = library(store)
        store.list()
    (tmp_path / f"{ids['Tea']}.jsonl").unlink()
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / f"{ids['Rust']}.jsonl").read_bytes())
    with (tmp_path / f"{ids['Code']}.jsonl").open("ab") as file:
        file.write(b'{"kind":"title","title":"Changed","rev":9,"seq":9,"time":"2026-01-01T00:00:00.000Z"}\n')
    with closing(ChatStore(tmp_path)) as store:
        assert sorted(found(store)) == ["Changed", "Rust", "Rust", "東京"]
        (tmp_path / "copy.jsonl").unlink()
        assert sorted(found(store)) == ["Changed", "Rust", "東京"]


def test_without_a_place_for_its_file_the_index_lives_in_memory(tmp_path: Path) -> None:
    (tmp_path / INDEX).mkdir()
    with closing(ChatStore(tmp_path)) as store:
        library(store)
        assert found(store, "oxid") == ["Rust"]


def test_an_sqlite_without_fts_still_searches(store: ChatStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_index, "_TEXTS", "CREATE VIRTUAL TABLE texts USING fts99 (text)")
    library(store)
    assert found(store, "oxid WHAT") == ["Rust"]
    assert found(store, "e_s") == ["Tea"]


def test_a_chat_that_cannot_be_read_is_listed_and_reported(store: ChatStore) -> None:
    library(store)
    (store.folder / "broken.jsonl").write_bytes(b"\xff" * 50 + b"\n")
    assert len(found(store)) == 5
    assert any("broken.jsonl" in one["message"] for one in store.problems)


def test_saving_does_not_touch_the_index(store: ChatStore, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = store.create().id
    store.list()
    before = (store.folder / INDEX).stat().st_mtime_ns
    monkeypatch.setattr(store._index, "_opened", lambda path: pytest.fail("the index was opened"))
    turn(store, chat)
    store.rename(chat, "x")
    assert (store.folder / INDEX).stat().st_mtime_ns == before

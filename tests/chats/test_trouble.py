"""modules/chats/store.py when the disk refuses, when others write too, and when files are damaged."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modules.chats.store import ChatStore
from modules.disk import durable
from modules.errors import Conflict, NotFound, StorageError
from tests.chats.helpers import FullDisk, again, ask, turn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ChatStore]:
    with closing(ChatStore(tmp_path / "chats")) as made:
        yield made


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    made = FullDisk()
    monkeypatch.setattr(durable, "os", made)
    return made


# ── a disk that refuses ─────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_leaves_chat_and_store_as_they_were(store: ChatStore, disk: FullDisk) -> None:
    chat = store.create().id
    asked = ask(store, chat)
    before, raw = store.get(chat), (store.folder / f"{chat}.jsonl").read_bytes()
    disk.full = True
    calls: list[Callable[[], Any]] = [
        lambda: ask(store, chat), lambda: store.begin_reply(chat, asked.id, "echo"), lambda: store.rename(chat, "x"),
        lambda: store.delete_message(chat, asked.id), lambda: store.create(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StorageError, match="disk is full") as caught:
            call()
        assert "Free some space" in caught.value.hint
    assert store.get(chat) == before
    assert (store.folder / f"{chat}.jsonl").read_bytes() == raw
    assert len(list(store.folder.glob("*.jsonl"))) == 1
    disk.full = False
    ask(store, chat, "later", asked.id)
    assert [node.text for node in again(store, chat).path()] == ["Hello", "later"]


def test_a_partial_the_disk_refused_is_saved_with_the_next(store: ChatStore, disk: FullDisk) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    store.partial(chat, reply.id, "one")
    disk.full = True
    with pytest.raises(StorageError):
        store.partial(chat, reply.id, "one two")
    disk.full = False
    store.partial(chat, reply.id, "one two three")
    assert again(store, chat).messages[reply.id].text == "one two three"


@pytest.mark.parametrize("saved_by", ["the next change", "save_waiting", "close"])
def test_the_end_of_a_reply_the_disk_refused_is_shown_and_saved_later(
    store: ChatStore, disk: FullDisk, saved_by: str
) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, ask(store, chat).id, "echo")
    disk.full = True
    with pytest.raises(StorageError):
        store.finish(chat, reply.id, "the whole answer")
    assert store.get(chat).messages[reply.id].state == "done"
    assert again(store, chat).messages[reply.id].state == "interrupted"
    with pytest.raises(StorageError):
        store.save_waiting(chat)
    disk.full = False
    if saved_by == "close":
        store.close()
    elif saved_by == "save_waiting":
        store.save_waiting(chat)
    else:
        store.rename(chat, "x")
        store.rename(chat, "y")
    assert again(store, chat).messages[reply.id].text == "the whole answer"
    assert again(store, chat).rev == store.get(chat).rev
    assert (store.folder / f"{chat}.jsonl").read_bytes().count(b'"final"') == 1


def test_a_full_disk_only_puts_off_compaction(
    store: ChatStore, disk: FullDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modules.chats.journal.COMPACT_FROM", 1000)
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    for length in range(40):
        store.partial(chat, reply.id, "long enough " * length)
    real_replace = durable._replace

    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(durable, "_replace", refuse)
    store.finish(chat, reply.id, "end")
    raw = (store.folder / f"{chat}.jsonl").read_bytes()
    assert raw.count(b'"partial"') == 39
    monkeypatch.setattr(durable, "_replace", real_replace)
    store.finish(chat, store.begin_reply(chat, None, "echo").id, "short")
    assert (store.folder / f"{chat}.jsonl").read_bytes().count(b'"partial"') == 0
    assert again(store, chat) == store.get(chat)


# ── several writers ─────────────────────────────────────────────────────────────────────────────────


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from modules.chats.store import ChatStore\n"
        "store = ChatStore(Path(sys.argv[1]), lock_file=Path(sys.argv[2])); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "chats"), str(tmp_path / ".lock")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "open\n"
            with pytest.raises(Conflict, match=f"process {first.pid}, since 2") as caught:
                ChatStore(tmp_path / "chats", lock_file=tmp_path / ".lock")
            assert caught.value.code == "already_running"
            assert "--user-data-dir" in caught.value.hint
        finally:
            first.kill()
        first.wait()
    ChatStore(tmp_path / "chats", lock_file=tmp_path / ".lock").close()


def test_many_threads_lose_nothing(store: ChatStore) -> None:
    chats = [store.create().id for _ in range(3)]
    barrier = threading.Barrier(8)

    def work(number: int) -> list[tuple[str, str]]:
        barrier.wait()
        made = []
        for step in range(12):
            chat = chats[(number + step) % 3]
            reply = store.begin_reply(chat, ask(store, chat, f"{number} {step}").id, "echo")
            store.partial(chat, reply.id, "par")
            store.list("par" if step % 3 else "")
            made.append((chat, store.finish(chat, reply.id, f"partial {number} {step}").id))
        return made

    with ThreadPoolExecutor(8) as pool:
        made = [one for some in pool.map(work, range(8)) for one in some]
    for chat in chats:
        now = store.get(chat)
        assert again(store, chat) == now
        assert sum(1 for name, _ in made if name == chat) * 2 == len(now.messages)
        revs = [node.rev for node in now.messages.values()]
        assert len(set(revs)) == len(revs)


def test_few_chats_stay_open_but_every_running_reply_does(tmp_path: Path) -> None:
    with closing(ChatStore(tmp_path, keep_open=3)) as store:
        running = store.create().id
        reply = store.begin_reply(running, None, "echo")
        for _ in range(10):
            ask(store, store.create().id)
        assert len(store._table._open) <= 4
        assert store.get(running).messages[reply.id].state == "running"
        store.finish(running, reply.id, "end")
        store.create()
        assert len(store._table._open) <= 3


def test_what_another_program_appended_is_seen(store: ChatStore) -> None:
    chat = store.create().id
    asked = ask(store, chat)
    path = store.folder / f"{chat}.jsonl"
    foreign = path.read_bytes().splitlines()[1].replace(asked.id.encode(), b"foreign").replace(b'"rev":1', b'"rev":2')
    with path.open("ab") as file:
        file.write(foreign + b"\n")
    with pytest.raises(Conflict):
        store.add_message(chat, None, "user", "x", 1)
    assert set(store.get(chat).messages) == {asked.id, "foreign"}
    ask(store, chat, "next")
    assert len(again(store, chat).messages) == 3


def test_a_reply_goes_on_when_another_program_changed_its_chat(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    store.partial(chat, reply.id, "one")
    with (store.folder / f"{chat}.jsonl").open("ab") as file:
        file.write(b'{"kind":"title","title":"From outside","rev":2,"seq":3,"time":"2026-01-01T00:00:00.000Z"}\n')
    store.partial(chat, reply.id, "one two")
    assert store.get(chat).messages[reply.id].state == "running"
    store.finish(chat, reply.id, "one two three")
    assert again(store, chat) == store.get(chat)
    assert store.get(chat).title == "From outside"


def test_a_chat_whose_file_was_removed_is_not_found(store: ChatStore) -> None:
    chat = store.create().id
    ask(store, chat)
    (store.folder / f"{chat}.jsonl").unlink()
    for _ in range(2):
        with pytest.raises(NotFound):
            store.get(chat)
    assert store.list() == []
    assert len(store._table._open) == 0


def test_a_folder_that_was_away_between_two_partials_costs_nothing(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, ask(store, chat).id, "echo")
    store.partial(chat, reply.id, "one")
    away = store.folder.rename(store.folder.with_name("away"))
    with pytest.raises(StorageError, match="is gone"):
        store.partial(chat, reply.id, "one two")
    assert store.get(chat).messages[reply.id].state == "running"
    away.rename(store.folder)
    store.partial(chat, reply.id, "one two three")
    assert again(store, chat).messages[reply.id].text == "one two three"
    store.finish(chat, reply.id, "one two three four")
    assert again(store, chat) == store.get(chat)
    assert store.get(chat).messages[reply.id].text == "one two three four"


@pytest.mark.parametrize("saved_by", ["save_waiting", "close"])
def test_a_reply_that_ended_while_the_folder_was_away_is_whole_in_the_end(store: ChatStore, saved_by: str) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, ask(store, chat).id, "echo")
    away = store.folder.rename(store.folder.with_name("away"))
    with pytest.raises(StorageError):
        store.finish(chat, reply.id, "the whole answer")
    with pytest.raises(StorageError):
        store.save_waiting(chat)
    away.rename(store.folder)
    assert again(store, chat).messages[reply.id].state == "interrupted"
    store.save_waiting(chat) if saved_by == "save_waiting" else store.close()
    assert again(store, chat).messages[reply.id].text == "the whole answer"


def test_a_chat_that_is_idle_while_its_folder_is_away_is_there_again(store: ChatStore) -> None:
    chat = store.create().id
    ask(store, chat)
    away = store.folder.rename(store.folder.with_name("away"))
    with pytest.raises(StorageError):
        store.get(chat)
    away.rename(store.folder)
    assert len(store.get(chat).messages) == 1


def test_a_file_that_is_gone_for_good_is_written_anew_from_memory(store: ChatStore) -> None:
    chat = store.create("Mine").id
    first = turn(store, chat, "One.")
    store.finish(chat, store.begin_reply(chat, first.parent, "echo").id, "Two.", "hm", "failed", error={"code": "x"})
    gone = ask(store, chat, "away with it", first.id)
    store.delete_message(chat, gone.id)
    store.delete_message(chat, ask(store, chat, "second question").id)
    store.set_prompt(chat, "Be short.")
    reply = store.begin_reply(chat, first.parent, "echo")
    other = store.begin_reply(chat, first.parent, "echo")
    store.partial(chat, other.id, "still")
    store.select(chat, first.id)
    (store.folder / f"{chat}.jsonl").unlink()
    with pytest.raises(StorageError):
        store.finish(chat, reply.id, "Three.", stats={"n": 3}, notices=[{"code": "y"}], finish_reason="stop")
    assert not (store.folder / f"{chat}.jsonl").exists()
    store.save_waiting(chat)
    store.partial(chat, other.id, "still here")
    assert [row.id for row in store.list("Three")] == [chat]
    store.finish(chat, other.id, "still here!")
    assert again(store, chat) == store.get(chat)
    assert again(store, chat).messages[reply.id].stats == {"n": 3}
    assert store.undelete(chat, gone.id) == 1
    assert again(store, chat) == store.get(chat)


def test_nothing_is_written_anew_under_the_mount_point_of_a_drive_that_is_away(store: ChatStore) -> None:
    chat = store.create().id
    reply = store.begin_reply(chat, None, "echo")
    path = store.folder / f"{chat}.jsonl"
    path.rename(path.with_suffix(".away"))
    with pytest.raises(StorageError):
        store.finish(chat, reply.id, "the whole answer")
    opened = store._table.opened(chat)
    assert opened is not None
    opened.journal._drive = -1
    with pytest.raises(StorageError):
        store.save_waiting(chat)
    path.with_suffix(".away").rename(path)
    store.save_waiting(chat)
    assert again(store, chat).messages[reply.id].text == "the whole answer"


def test_damage_is_reported_and_the_rest_of_the_chat_is_there(store: ChatStore) -> None:
    chat = store.create().id
    turn(store, chat)
    store.close()
    path = store.folder / f"{chat}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"#" * 30 + b"\n", *lines[2:]]))
    with closing(ChatStore(store.folder)) as after:
        assert len(after.get(chat).messages) == 2
        assert [one["source"] for one in after.problems] == ["chats"]
        assert "Line 3" in after.problems[0]["message"]

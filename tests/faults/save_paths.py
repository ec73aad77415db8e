"""Every path on which this program saves something, as scenarios for power_loss.py."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from modules.chats.store import ChatStore
from modules.disk import durable
from modules.errors import NotFound, StorageError
from tests.faults.fake_disk import FakeDisk

TORN = b'{"kind":"message","seq":9,"id":"torn'
BAD = b"port: [78"
FOREIGN = b'{"kind":"from a later version","seq":3,"sky":"blue"}\n'


@dataclass(frozen=True)
class Scenario:
    """act    saves things, and marks each as promised; returns what must be found after 0, 1, 2 … marks
    check  opens what a crash left; raises AssertionError unless it is what was promised at the last mark, or
           what was being saved then
    prepare  what lies on the disk before
    """

    name: str
    act: Callable[[FakeDisk], list[Any]]
    check: Callable[[Path, list[Any]], None]
    prepare: Callable[[Path], None] = lambda root: None


# ── settings and the like ───────────────────────────────────────────────────────────────────────────


def _act_settings(disk: FakeDisk) -> list[Any]:
    values: list[Any] = [None]
    for number, text in enumerate(("short", "longer " * 40, "short again")):
        values.append({"number": number, "text": text})
        durable.write_yaml(disk.root / "settings.yaml", values[-1])
        disk.mark()
    return values


def _check_settings(root: Path, promised: list[Any]) -> None:
    value, problem = durable.read_yaml(root / "settings.yaml")
    assert value in promised, value
    assert problem is None, problem
    durable.write_yaml(root / "settings.yaml", {"next": 1})
    assert durable.read_yaml(root / "settings.yaml") == ({"next": 1}, None)


def _prepare_bad_settings(root: Path) -> None:
    durable.write_yaml(root / "settings.yaml", {"mine": True})
    (root / "settings.yaml").write_bytes(BAD)


def _act_bad_settings(disk: FakeDisk) -> list[Any]:
    assert durable.read_yaml(disk.root / "settings.yaml")[0] == {"mine": True}
    disk.mark()
    return [{"mine": True}, {"mine": True}]


def _check_bad_settings(root: Path, promised: list[Any]) -> None:
    assert durable.read_yaml(root / "settings.yaml")[0] in promised, "defaults took the place of a bad file"
    assert BAD in [path.read_bytes() for path in root.glob("settings.yaml*")], "the bad file is gone"


# ── chats ───────────────────────────────────────────────────────────────────────────────────────────


def seen(store: ChatStore, chat: str) -> Any:
    """A chat as it is found after a crash: replies that ran are interrupted."""
    try:
        found = store.get(chat).as_dict()
    except NotFound:
        return None
    for node in found["messages"]:
        node["state"] = "interrupted" if node["state"] == "running" else node["state"]
    return found


def _act_turns(disk: FakeDisk) -> list[Any]:
    """A chat from its first message on, with everything that can be done to it."""
    with _store(disk.root) as store:
        chat = store.create("Power").id
        found = [None, {"id": chat} | seen(store, chat)]
        disk.mark()

        def promise() -> None:
            found.append(seen(store, chat))
            disk.mark()

        asked = store.add_message(chat, None, "user", "What is\nrust? 🦀")
        promise()
        for words in ("Iron", "Iron oxide"):
            reply = store.begin_reply(chat, asked.id, "echo")
            promise()
            for length in (2, len(words)):
                store.partial(chat, reply.id, words[:length], "hm")
                promise()
            store.finish(chat, reply.id, words + ".", "hm", "done", {"completion_tokens": 3})
            promise()
        steps: list[Callable[[], object]] = [
            lambda: store.delete_message(chat, reply.id),
            lambda: store.undelete(chat, reply.id),
            lambda: store.select(chat, asked.id),
            lambda: store.rename(chat, "Rust"),
            lambda: store.set_prompt(chat, "Be brief."),
        ]
        for step in steps:
            step()
            promise()
    return found


def _act_full_disk(disk: FakeDisk) -> list[Any]:
    """Every second save meets a full disk half-way; what comes after it must not be glued to the rest."""
    with _store(disk.root) as store:
        chat = store.create("Full").id
        found = [None, seen(store, chat)]
        disk.mark()
        for number in range(3):
            disk.fill_up()
            with suppress(StorageError):
                store.add_message(chat, None, "user", f"refused {number}")
            store.add_message(chat, None, "user", f"taken {number}")
            found.append(seen(store, chat))
            disk.mark()
    return found


def _check_chat(root: Path, promised: list[Any]) -> None:
    chat = next((one["id"] for one in promised if one), "")
    with _store(root) as store:
        found = seen(store, chat)
        assert found in promised, f"found {found}"
        assert not store.problems, store.problems
        if found is None:
            return
        store.add_message(chat, None, "user", "and on")
        after = seen(store, chat)
    with _store(root) as store:
        assert seen(store, chat) == after, "what was saved after the crash is not there"
        assert [node for node in after["messages"] if node["text"] != "and on"] == found["messages"]


def _prepare_torn(root: Path) -> None:
    with _store(root) as store:
        chat = store.create("Torn").id
        store.add_message(chat, None, "user", "before")
    with _journal(root).open("ab") as file:
        file.write(TORN)


def _act_torn(disk: FakeDisk) -> list[Any]:
    with _store(disk.root) as store:
        chat = _journal(disk.root).stem
        found = [seen(store, chat)]
        for number in range(2):
            store.add_message(chat, None, "user", f"after {number}")
            found.append(seen(store, chat))
            disk.mark()
    return found


def _check_torn(root: Path, promised: list[Any]) -> None:
    kept = b"".join(path.read_bytes() for path in (root / "chats").iterdir() if ".jsonl" in path.name)
    assert TORN in kept, "the torn line is gone"
    _check_chat(root, promised)


def _prepare_long(root: Path) -> None:
    with _store(root) as store:
        chat = store.create("Long").id
        reply = store.begin_reply(chat, None, "echo")
        for length in range(30, 300, 30):
            store.partial(chat, reply.id, "x" * length)
        store.finish(chat, reply.id, "x" * 300)
        cut = store.begin_reply(chat, None, "echo")
        store.partial(chat, cut.id, "never ended")
    with _journal(root).open("ab") as file:
        file.write(FOREIGN + b"not a record\n")


def _act_compaction(disk: FakeDisk) -> list[Any]:
    with _store(disk.root) as store:
        chat = _journal(disk.root).stem
        found = [seen(store, chat)]
        before = _journal(disk.root).stat().st_size
        with mock.patch("modules.chats.journal.Journal.worth_compacting", return_value=True):
            reply = store.begin_reply(chat, None, "echo")
            found.append(seen(store, chat))
            disk.mark()
            store.finish(chat, reply.id, "end")
        found.append(seen(store, chat))
        disk.mark()
        assert _journal(disk.root).stat().st_size < before, "nothing was compacted"
    return found


def _check_compaction(root: Path, promised: list[Any]) -> None:
    raw = _journal(root).read_bytes()
    assert FOREIGN in raw, "a record of a later version is gone"
    assert b"not a record\n" in raw, "a damaged line is gone"
    with _store(root) as store:
        assert seen(store, promised[0]["id"]) in promised


def _prepare_one(root: Path) -> None:
    with _store(root) as store:
        store.add_message(store.create("Gone?").id, None, "user", "keep me")


def _act_trash(disk: FakeDisk) -> list[Any]:
    with _store(disk.root) as store:
        chat = _journal(disk.root).stem
        there = seen(store, chat)
        store.delete(chat)
        disk.mark()
        disk.mark()  # between these two it has to be gone
        store.restore(chat)
        disk.mark()
    return [there, None, None, there]


def _check_trash(root: Path, promised: list[Any]) -> None:
    there = next((one for one in promised if one), None)
    file = next(root.rglob("*.jsonl"), None)
    assert file is not None, "the chat is neither here nor in the trash"
    chat = file.name.partition(".")[0]
    with _store(root) as store:
        found = seen(store, chat)
        assert found in promised, found
        if found is None:
            found = store.restore(chat).as_dict()
        assert there is None or found == there, "the chat was not brought back whole"


def _store(root: Path) -> Any:
    return closing(ChatStore(root / "chats"))


def _journal(root: Path) -> Path:
    return next((root / "chats").glob("*.jsonl"))


SCENARIOS = (
    Scenario("settings", _act_settings, _check_settings),
    Scenario("bad settings", _act_bad_settings, _check_bad_settings, _prepare_bad_settings),
    Scenario("turns", _act_turns, _check_chat),
    Scenario("full disk", _act_full_disk, _check_chat),
    Scenario("torn line", _act_torn, _check_torn, _prepare_torn),
    Scenario("compaction", _act_compaction, _check_compaction, _prepare_long),
    Scenario("trash", _act_trash, _check_trash, _prepare_one),
)

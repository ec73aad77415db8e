"""Fault: the power goes at every write boundary of every save path. Figure: 0 violations.

Run: python tests/faults/power_loss.py [--break fsync|"fsync folder"|rename|cut]
Each scenario runs the real code once on a disk that notes every step. Then every state a power cut may
leave, at every moment, is laid out in an empty folder and opened by the real code, which must find what
it had promised, and be able to go on. With --break one safeguard is taken out, and violations must be found:
that is how one sees that the checks can fail. tests/test_durable.py runs both forms.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from modules import durable  # noqa: E402
from modules.chat_journal import Journal  # noqa: E402
from modules.chat_store import ChatStore  # noqa: E402
from modules.durable import append_durably  # noqa: E402
from modules.errors import EnginehouseError, NotFound, StorageError  # noqa: E402
from tests.faults.crash_states import put  # noqa: E402
from tests.faults.fake_disk import LIES, FakeDisk  # noqa: E402

TORN = b'{"kind":"message","seq":9,"id":"torn'
FOREIGN = b'{"kind":"from a later version","seq":3,"sky":"blue"}\n'


@dataclass
class Figures:
    """What a run found."""

    states: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.violations)} violations of {self.states} states"


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


BREAKS = (*LIES, "rename", "cut")
"""fsync, fsync folder: the disk only says it did; rename: files are written in place; cut: a failed append
is left as it is."""


def run(broken: str = "", names: tuple[str, ...] = ()) -> Figures:
    """All scenarios, or those named, whole or with one safeguard taken out."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder, _without(broken):
        for scenario in SCENARIOS:
            if not names or scenario.name in names:
                base = Path(folder).resolve()
                _run_one(scenario, base / "live", base / "after", broken if broken in LIES else "", figures)
    return figures


@contextmanager
def _without(safeguard: str) -> Iterator[None]:
    if safeguard == "rename":
        with mock.patch.object(durable, "_replace", _write_in_place):
            yield
    elif safeguard == "cut":
        with (
            mock.patch.object(durable, "_cut_back"),
            mock.patch.object(Journal, "_repair"),
            mock.patch("modules.chat_journal.append_durably", lambda path, data, length: append_durably(path, data)),
        ):
            yield
    else:
        yield


def _write_in_place(path: Path, raw: bytes, mode: int | None) -> None:
    """How text-generation-webui saves: the old content is gone before the new one is there."""
    fd = durable.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    durable.os.write(fd, raw)
    durable.os.fsync(fd)
    durable.os.close(fd)


def _run_one(scenario: Scenario, live: Path, after: Path, lie: str, figures: Figures) -> None:
    live.mkdir()
    with mock.patch.object(durable.os, "fsync", return_value=None):  # the disks here are made of paper
        scenario.prepare(live)
        disk = FakeDisk(live, lie)
        with disk.watching():
            promised = scenario.act(disk)
        if not lie:
            missed = [name for name in disk.missed() if name.endswith((".jsonl", ".yaml"))]
            assert not missed, f"changed without durable.py: {missed}"
        assert len(promised) == 1 + sum(event.what == "mark" for event in disk.events)
        for marks, state in disk.crashes():
            after.mkdir()
            put(state, after)
            figures.states += 1
            try:
                scenario.check(after, promised[marks : marks + 2])
            except (AssertionError, EnginehouseError) as error:
                figures.violations.append(f"{scenario.name}, after {marks} promises: {error!r}")
            shutil.rmtree(after)
    shutil.rmtree(live)


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
        with mock.patch("modules.chat_journal.Journal.worth_compacting", return_value=True):
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
        store.restore(chat)
        disk.mark()
    return [there, None, there]


def _check_trash(root: Path, promised: list[Any]) -> None:
    there = next(one for one in promised if one)
    with _store(root) as store:
        found = seen(store, there["id"])
        assert found in promised, found
        if found is None:
            store.restore(there["id"])
        assert seen(store, there["id"]) == there, "the chat could not be brought back"


def _store(root: Path) -> Any:
    return closing(ChatStore(root / "chats"))


def _journal(root: Path) -> Path:
    return next((root / "chats").glob("*.jsonl"))


SCENARIOS = (
    Scenario("settings", _act_settings, _check_settings),
    Scenario("turns", _act_turns, _check_chat),
    Scenario("full disk", _act_full_disk, _check_chat),
    Scenario("torn line", _act_torn, _check_torn, _prepare_torn),
    Scenario("compaction", _act_compaction, _check_compaction, _prepare_long),
    Scenario("trash", _act_trash, _check_trash, _prepare_one),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--break", dest="broken", choices=BREAKS, default="", help="take this safeguard out")
    parser.add_argument("--verbose", action="store_true", help="name each violation")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # each state that ends in a torn line says so
    figures = run(given.broken)
    if given.verbose:
        print(*figures.violations, sep="\n")
    print(figures)
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())

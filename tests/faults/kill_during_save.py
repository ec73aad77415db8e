"""Fault: kill -9 while chats are being saved. Figure: 0 unreadable, 0 lost.

Run: python tests/faults/kill_during_save.py [kills, default 1000] [--break rewrite|promise] [--seed N]
A child process changes chats as fast as it can and tells over a pipe what it was promised to be saved;
the parent kills it at a random moment, opens the same folder, and looks for every promise of all rounds.
With --break the child saves as text-generation-webui does (empty the file, write it anew), or promises
before it saves; then the figure must not be 0. tests/chats/test_faults.py runs short forms of all three.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from modules.chats import journal as chat_journal  # noqa: E402
from modules.chats.store import ChatStore  # noqa: E402

CHATS = 4
"""Few, so that they grow long and each is hit often."""
KILLS_PER_FOLDER = 50
MOST_PROMISES = 40
"""A life ends after fewer; counted and not timed, so that a slow disk does not leave a life without any."""


@dataclass
class Figures:
    """What a run found. `promised` counts the things the child was told are safe."""

    kills: int = 0
    promised: int = 0
    unreadable: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.unreadable} unreadable, {len(self.lost)} lost of {self.promised} ({self.kills} kills)"


@dataclass
class Promises:
    """What has to be there: message → the text it must have or begin with, and which are deleted."""

    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    gone: dict[tuple[str, str], bool] = field(default_factory=dict)

    def take(self, promise: list[Any]) -> None:
        what, chat, message, value = promise
        if what == "text":
            self.texts[chat, message] = value
        else:
            self.gone[chat, message] = value


def run(kills: int, broken: str = "", seed: int = 0) -> Figures:
    """Kill a saving child `kills` times and check all promises made in its folder after each."""
    figures, luck = Figures(), random.Random(seed)
    while figures.kills < kills:
        promises = Promises()
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(min(KILLS_PER_FOLDER, kills - figures.kills)):
                chats = Path(folder) / "chats"
                life = random.Random(luck.random())
                figures.promised += _one_life(chats, broken, life, promises)
                figures.kills += 1
                if not _check(chats, promises, figures):
                    break  # nothing more can be learned from this folder
    return figures


def _one_life(chats: Path, broken: str, luck: random.Random, promises: Promises) -> int:
    """Start a child, let it save some things, kill it while it saves the next; the number of promises."""
    enough = luck.randrange(1, MOST_PROMISES)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            _save_for_ever(chats, broken, write, luck)
        finally:
            os._exit(3)
    os.close(write)
    heard, first, end = b"", 0.0, 0.0
    while not end or time.monotonic() < end:
        ready, _, _ = select.select([read], [], [], max(0.0, end - time.monotonic()) if end else 60)
        piece = os.read(read, 65536) if ready else b""
        if not piece and not end:
            raise RuntimeError("the child saved nothing")
        heard += piece
        first = first or time.monotonic()
        if not end and (count := heard.count(b"\n")) >= enough:
            pace = max(0.001, (time.monotonic() - first) / count)
            end = time.monotonic() + luck.random() * 2 * pace
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open(read, "rb") as rest:
        heard += rest.read()
    lines = heard.split(b"\n")[:-1]  # a promise counts when its line has come over whole
    for line in lines:
        promises.take(json.loads(line))
    return len(lines)


def _save_for_ever(chats: Path, broken: str, pipe: int, luck: random.Random) -> None:
    """The child. Never returns."""

    def promise(*what: Any) -> None:
        os.write(pipe, json.dumps(what).encode() + b"\n")

    _break(broken)
    chat_journal.COMPACT_FROM = 2048  # so that compaction is hit too
    store = ChatStore(chats)
    known = [row.id for row in store.list()]
    known += [store.create().id for _ in range(CHATS - len(known))]
    while True:
        chat = luck.choice(known)
        tree = store.get(chat)
        parent = luck.choice([None, tree.leaf, tree.leaf, tree.leaf])
        text = f"{luck.random()} " + "word " * luck.randrange(60)
        early = broken == "promise"
        if early:
            promise("text", chat, f"none-{luck.random()}", text)
        asked = store.add_message(chat, parent, "user", text)
        promise("text", chat, asked.id, text)
        reply = store.begin_reply(chat, asked.id, "echo")
        promise("text", chat, reply.id, "")
        said = ""
        for _ in range(luck.randrange(8)):
            said += "token " * luck.randrange(30)
            store.partial(chat, reply.id, said)
            promise("text", chat, reply.id, said)
        store.finish(chat, reply.id, said + ".", stats={"completion_tokens": 1})
        promise("text", chat, reply.id, said + ".")
        if luck.random() < 0.1:
            promise("gone", chat, reply.id, True)  # said before: from here on it may be gone
            store.delete_message(chat, reply.id)
            if luck.random() < 0.5:
                store.undelete(chat, reply.id)
                promise("gone", chat, reply.id, False)


def _break(how: str) -> None:
    if how == "rewrite":

        def append(path: Path, data: bytes, length: int | None = None) -> int:
            whole = path.read_bytes() + data
            with path.open("wb") as file:
                for at in range(0, len(whole), 4096):
                    file.write(whole[at : at + 4096])
                    file.flush()
            return len(whole)

        chat_journal.append_durably = append


def _check(chats: Path, promises: Promises, figures: Figures) -> bool:
    """Look for every promise; False when nothing more can be learned from this folder."""
    before = figures.unreadable, len(figures.lost)
    with closing(ChatStore(chats)) as store:
        found = {row.id: store.get(row.id).messages for row in store.list()}
        figures.unreadable += len(store.problems)
    for (chat, message), text in promises.texts.items():
        if promises.gone.get((chat, message)):
            continue
        node = found.get(chat, {}).get(message)
        if node is None or not node.text.startswith(text):
            figures.lost.append(f"{chat} {message} {text[:20]!r}")
    return (figures.unreadable, len(figures.lost)) == before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=1000)
    parser.add_argument("--break", dest="broken", choices=("rewrite", "promise"), default="")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not hasattr(os, "fork"):
        print("This system cannot fork; run it on Linux or macOS.")
        return 2
    figures = run(given.kills, given.broken, given.seed)
    print(figures)
    return 1 if figures.unreadable or figures.lost else 0


if __name__ == "__main__":
    sys.exit(main())

"""Fault: kill -9 the server while replies are written. Figure: 0 orphan workers after 5 s, 0 messages lost.

Run: python tests/faults/server_killed.py [kills, default 50] [--seed N]
Each round starts the server on the folder the last one left, looks for everything acknowledged in all rounds,
lets some replies run, and kills it at a random moment. A reply that was cut has to come back as "interrupted"
with at most the last two seconds missing. tests/faults/test_server_faults.py runs a short form.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.conftest import LiveServer, start_server  # noqa: E402

ORPHAN_SECONDS = 5.0
SAVED_AFTER = 2.0  # seconds: what a page had seen this long before the kill has to be there
REPLIES = 2


@dataclass
class Watched:
    """What a page saw of one reply, with the time of each piece."""

    chat: str
    message: str
    reply: str
    question: str
    pieces: list[tuple[float, str]] = field(default_factory=list)

    def seen(self, until: float) -> str:
        return "".join(text for when, text in self.pieces if when <= until)


@dataclass
class Figures:
    kills: int = 0
    orphans: int = 0
    messages: int = 0
    lost: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)  # more than the last SAVED_AFTER seconds of a reply are missing
    slowest_start: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.orphans} orphan workers after {ORPHAN_SECONDS:.0f} s, "
            f"{len(self.lost)} lost and {len(self.late)} saved late of {self.messages} acknowledged messages, "
            f"slowest start {self.slowest_start:.1f} s"
        )


def watch(live: LiveServer, watched: Watched) -> threading.Thread:
    """Follow a reply in a thread until the connection breaks."""

    def follow() -> None:
        path = f"{live.base_url}/api/chats/{watched.chat}/replies/{watched.reply}"
        try:
            with httpx.stream("GET", path, timeout=10) as answer:
                for line in answer.iter_lines():
                    if line.startswith('data: {"t"'):
                        watched.pieces.append((time.monotonic(), json.loads(line[6:])["t"]))
        except httpx.TransportError:
            return  # the server was killed: that is the point

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


def begin_replies(live: LiveServer, rng: random.Random) -> list[Watched]:
    """Chats with a reply each; what is returned was acknowledged."""
    live.load_echo(tokens=100_000, speed=100, context=1_000_000)
    found = []
    for _ in range(REPLIES):
        question = f"question {rng.getrandbits(60)}"
        chat, turn = live.chat(question)
        found.append(Watched(chat["id"], turn["message"]["id"], turn["reply"]["id"], question))
    return found


def look(live: LiveServer, watched: list[Watched], killed_at: float, figures: Figures) -> None:
    """Everything acknowledged has to be there."""
    for one in watched:
        figures.messages += 2
        nodes: dict[str, Any] = {n["id"]: n for n in live.call("GET", f"/api/chats/{one.chat}")["messages"]}
        if nodes.get(one.message, {}).get("text") != one.question:
            figures.lost.append(f"the question of {one.chat}")
        reply = nodes.get(one.reply, {"state": "missing", "text": ""})
        had = one.seen(killed_at - SAVED_AFTER)
        told = f"{one.chat}: {reply['state']}, {len(reply['text'])} of at least {len(had)} characters"
        if reply["state"] != "interrupted" or not (reply["text"].startswith(had) or had.startswith(reply["text"])):
            figures.lost.append(told)
        elif len(reply["text"]) < len(had):
            figures.late.append(told)


def measure(kills: int, seed: int = 0) -> Figures:
    """Kill so many servers, each started on what the last one left."""
    rng, figures = random.Random(seed), Figures()
    everything: list[tuple[list[Watched], float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(kills):
            live = _start(folder, figures)
            try:
                if everything:
                    look(live, *everything[-1], figures)
                watched = begin_replies(live, rng)
                threads = [watch(live, one) for one in watched]
                time.sleep(rng.uniform(0.0, 4.0))
                workers = psutil.Process(live.proc.pid).children(recursive=True)
                assert workers, "there was no worker to become an orphan"
            finally:
                live.proc.send_signal(signal.SIGKILL)
                killed_at = time.monotonic()
                live.proc.wait(10)
                for client in live.clients:
                    client.close()
            figures.kills += 1
            _, alive = psutil.wait_procs(workers, ORPHAN_SECONDS)
            figures.orphans += len(alive)
            for thread in threads:
                thread.join(10)
            everything.append((watched, killed_at))
        live = _start(folder, figures)
        for watched, killed_at in everything:
            look(live, watched, killed_at, figures)
        live.stop()
    return figures


def _start(folder: Path, figures: Figures) -> LiveServer:
    began = time.monotonic()
    live = start_server(folder)
    figures.slowest_start = max(figures.slowest_start, time.monotonic() - began)
    return live


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    figures = measure(options.kills, options.seed)
    print(f"seed {options.seed}: {figures}")
    for told in (*figures.lost[:10], *figures.late[:10]):
        print(told)
    sys.exit(1 if figures.orphans or figures.lost or figures.late else 0)


if __name__ == "__main__":
    main()

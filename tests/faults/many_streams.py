"""Load: many chat replies at once on the echo engine. Figures: all whole, no cross-talk, memory, /health.

Run: python tests/faults/many_streams.py [streams, default 200] [--seconds 60]
Every chat asks its own text back, so any piece of another reply in it is seen. Each reply lasts about
`--seconds`. Aims: all complete; the server's memory grows ≤ 20 MB from the time all run until the end; /health
answers within 250 ms (p99). tests/faults/test_server_faults.py runs a short form.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.conftest import LiveServer, running_server  # noqa: E402

SPEED = 10  # tokens per second of one stream


@dataclass
class Figures:
    streams: int
    whole: int = 0
    mixed: list[str] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """MB between the median of the first and of the last fifth, so that one sample does not decide."""
        part = max(1, len(self.memory) // 5)
        first, last = sorted(self.memory[:part]), sorted(self.memory[-part:])
        return (last[part // 2] - first[part // 2]) / 1e6

    @property
    def health_p99(self) -> float:
        return sorted(self.health)[int(len(self.health) * 0.99)] if self.health else 0.0

    def __str__(self) -> str:
        return (
            f"{self.streams} streams for {self.seconds:.0f} s: {self.whole} whole, {len(self.mixed)} wrong; "
            f"/health p99 {self.health_p99 * 1000:.0f} ms; memory {self.growth:+.1f} MB "
            f"(at most {max(self.memory, default=0) / 1e6:.0f} MB)"
        )


def text_for(index: int, tokens: int) -> str:
    """A text nobody else has, of about so many tokens of the echo engine."""
    rng = random.Random(index)
    return " ".join(f"{rng.randrange(16**3):03x}" for _ in range(tokens))


async def one_stream(client: httpx.AsyncClient, index: int, tokens: int, figures: Figures) -> None:
    text = text_for(index, tokens)
    chat = (await client.post("/api/chats", json={})).json()
    sent = (await client.post(f"/api/chats/{chat['id']}/messages", json={"text": text, "parent": None})).json()
    got, ended = [], ""
    async with client.stream("GET", f"/api/chats/{chat['id']}/replies/{sent['reply']['id']}") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                got.append(event.get("t", ""))
                ended = "done" if "done" in event else str(event["failed"]) if "failed" in event else ended
    if ended == "done" and "".join(got) == text:
        figures.whole += 1
    else:
        figures.mixed.append(f"stream {index}: {ended or 'no end'}, {len(''.join(got))} of {len(text)} characters")


async def look_at_health(url: str, figures: Figures) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        while True:
            began = time.monotonic()
            await client.get("/health")
            figures.health.append(time.monotonic() - began)
            await asyncio.sleep(0.05)


async def look_at_memory(pid: int, figures: Figures) -> None:
    process = psutil.Process(pid)
    while True:
        await asyncio.sleep(0.5)
        figures.memory.append(process.memory_info().rss)


async def run(live: LiveServer, streams: int, seconds: float) -> Figures:
    """Hold so many streams, each about so many seconds long."""
    figures, began = Figures(streams), time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=live.base_url, timeout=120, limits=limits) as client:
        tasks = [
            asyncio.create_task(one_stream(client, index, int(seconds * SPEED), figures)) for index in range(streams)
        ]
        while (await client.get("/api/state")).json()["model"]["running"] < streams and not all(  # noqa: ASYNC110
            t.done() for t in tasks
        ):
            await asyncio.sleep(0.1)
        watchers = [
            asyncio.create_task(look_at_health(live.base_url, figures)),
            asyncio.create_task(look_at_memory(live.proc.pid, figures)),
        ]
        await asyncio.gather(*tasks)
        for watcher in watchers:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
    figures.seconds = time.monotonic() - began
    return figures


def measure(streams: int, seconds: float) -> Figures:
    """Start a server and run."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as live:
        live.load_echo(speed=SPEED, parallel=streams, context=1_000_000)
        return asyncio.run(run(live, streams, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", nargs="?", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    figures = measure(options.streams, options.seconds)
    print(figures)
    for told in figures.mixed[:10]:
        print(told)
    sys.exit(1 if figures.mixed or figures.growth > 20 or figures.health_p99 > 0.25 else 0)


if __name__ == "__main__":
    main()

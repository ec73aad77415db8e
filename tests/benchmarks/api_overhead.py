"""Our /v1/chat/completions against the same engine asked directly: same process, same model, same run.

The engine is the llama.cpp server inside our worker; it has a chat route of its own on its private port. The load
generator (sse_load.py, a process of its own) asks the two in turn, so that a drift of the machine's speed hits both.
Printed: the ratio of tokens/s pair by pair, and the time to the first token with one stream, from short replies asked
of the two in turn by one process that is already running (a fresh one would add its cold caches to both).
Aims: ratio ≥ 0.98 with 1 stream, ≥ 0.97 with 4 and 8; added time ≤ 5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from modules.api.build import build
from modules.api.serving import Serving
from modules.app import App
from modules.settings.cli import parse
from modules.web.listening import bind

MODEL = Path(__file__).resolve().parents[2] / "user_data/models/SmolLM2-135M-Instruct.Q4_1.gguf"


async def load(job: dict[str, Any]) -> dict[str, Any]:
    """One run of the load generator; `cpu` is what this process, the server, spent meanwhile, in seconds."""
    before = time.process_time()
    script = Path(__file__).with_name("sse_load.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), json.dumps(job), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("the load generator failed")
    result: dict[str, Any] = json.loads(out)
    return result | {"cpu": time.process_time() - before}


async def first_token(ours: dict[str, Any], direct: dict[str, Any], options: argparse.Namespace) -> None:
    """Median times over the rounds, repeated: the added time is the difference of two medians."""
    added, medians = [], ([], [])
    shape = {"streams": 1, "tokens": 8, "salt": "First."}
    for _ in range(options.repeats):
        result = await load({"rounds": options.rounds, "targets": [ours | shape, direct | shape]})
        both = [statistics.median(times) for times in result["first_ms"]]
        added.append(both[0] - both[1])
        for target, value in zip(medians, both, strict=True):
            target.append(value)
    print(f"first token: ours {spread(medians[0], 1)} ms, direct {spread(medians[1], 1)} ms, ", end="")
    print(f"added {spread(added, 1)} ms; each the median of {options.rounds} requests", flush=True)


def spread(values: list[float], digits: int = 3) -> str:
    return (
        f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f}, n={len(values)})"
    )


async def measure(ours: dict[str, Any], direct: dict[str, Any], options: argparse.Namespace) -> None:
    for streams in options.streams:
        ratios, spent, speeds = [], [], ([], [])
        for index in range(options.repeats + 1):
            shape = {"streams": streams, "tokens": options.tokens, "salt": f"Version {streams}."}
            asked = [ours | shape, direct | shape]
            pair = [await load(job) for job in (asked if index % 2 else reversed(asked))]
            pair = pair if index % 2 else pair[::-1]
            if index == 0:
                continue  # warms the prompt cache of every slot
            ratios.append(pair[0]["per_second"] / pair[1]["per_second"])
            spent.append((pair[0]["cpu"] - pair[1]["cpu"]) / pair[0]["tokens"] * 1e6)
            for target, result in zip(speeds, pair, strict=True):
                target.append(result["per_second"])
        print(f"{streams} streams: tokens/s ratio {spread(ratios)}", end="; ")
        print(f"ours {spread(speeds[0], 1)}, direct {spread(speeds[1], 1)}", end="; ")
        print(f"server CPU {spread(spent, 0)} µs a token", end="; ")
        sizes = [one["bytes_per_token"] for one in pair]
        print(f"{sizes[0]:.0f} against {sizes[1]:.0f} bytes a token", flush=True)


async def compare(app: App, options: argparse.Namespace) -> None:
    """Load the model, then ask in turn."""
    await app.models.load(MODEL.stem, settings={"parallel": max(options.streams)})
    async with app.models.lease(MODEL.stem) as lease:
        endpoint = lease.engine.info.endpoint
    if endpoint is None:
        raise SystemExit("this loader has no endpoint of its own to compare with")
    ours = {"url": app.url.rstrip("/") + "/v1/chat/completions", "key": "", "model": MODEL.stem}
    direct = {"url": endpoint.url.rstrip("/") + "/v1/chat/completions", "key": endpoint.key, "model": "any"}
    await first_token(ours, direct, options)
    await measure(ours, direct, options)


def main(options: argparse.Namespace) -> None:
    """The server as server.py runs it, with the comparison as its background work."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models" / MODEL.name).symlink_to(MODEL)
        app = App.build(parse(["--no-ui", "--port", "0", "--user-data-dir", folder]))
        built = build(app)
        bound = bind("127.0.0.1", 0)
        app.url = bound.url
        server = Serving(built.asgi, lambda: None, app.let_go, lambda: None)

        async def work() -> None:
            try:
                await compare(app, options)
            finally:
                server.should_exit = True

        server.background.append(work)
        server.run(sockets=list(bound.sockets))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=40, help="requests for one median of the time to the first token")
    main(parser.parse_args())

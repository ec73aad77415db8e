"""Our /v1/chat/completions against the same engine asked directly: same process, same model, same run.

The engine is the llama.cpp server inside our worker; it has a chat route of its own on its private port. The load generator
(sse_load.py, a process of its own) asks the two in turn, A B A B, so that a drift of the machine's speed hits both.
Printed: the ratio of tokens/s pair by pair, and the added time to the first token with one stream.
Aims: ratio ≥ 0.98 with 1 stream, ≥ 0.97 with 4 and 8; added time ≤ 5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from server import build, serve

MODEL = Path(__file__).resolve().parents[2] / "user_data/models/SmolLM2-135M-Instruct.Q4_1.gguf"


async def load(job: dict[str, Any]) -> dict[str, Any]:
    """One run of the load generator."""
    script = Path(__file__).with_name("sse_load.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), json.dumps(job), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("the load generator failed")
    result: dict[str, Any] = json.loads(out)
    return result


def spread(values: list[float], digits: int = 3) -> str:
    return (
        f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f}, n={len(values)})"
    )


async def measure(ours: dict[str, Any], direct: dict[str, Any], options: argparse.Namespace) -> None:
    for streams in options.streams:
        ratios, added, speeds = [], [], ([], [])
        for index in range(options.repeats + 1):
            shape = {"streams": streams, "tokens": options.tokens, "salt": f"Version {streams}."}
            pair = [await load(ours | shape), await load(direct | shape)]
            if index % 2:
                pair = [await load(ours | shape), pair[1]]
            if index == 0:
                continue  # warms the prompt cache of every slot
            ratios.append(pair[0]["per_second"] / pair[1]["per_second"])
            added.append(statistics.median(pair[0]["first_ms"]) - statistics.median(pair[1]["first_ms"]))
            for target, result in zip(speeds, pair, strict=True):
                target.append(result["per_second"])
        print(
            f"{streams} streams: tokens/s ratio {spread(ratios)}; ours {spread(speeds[0], 1)}, direct {spread(speeds[1], 1)}; "
            f"first token +{spread(added, 1)} ms; {pair[0]['bytes_per_token']:.0f} against {pair[1]['bytes_per_token']:.0f} bytes a token",
            flush=True,
        )


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        (models / MODEL.name).symlink_to(MODEL)
        app = build(["--no-ui", "--port", "0", "--user-data-dir", folder])
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(app, on_listening=ready.set_result))
        url = await ready
        status = await app.models.load(MODEL.stem, settings={"parallel": max(options.streams)})
        endpoint = status.info.endpoint
        ours = {"url": url.rstrip("/") + "/v1/chat/completions", "key": "", "model": MODEL.stem}
        direct = {"url": endpoint.url.rstrip("/") + "/v1/chat/completions", "key": endpoint.key, "model": "any"}
        try:
            await measure(ours, direct, options)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=5)
    asyncio.run(main(parser.parse_args()))

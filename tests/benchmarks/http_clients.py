"""Processor time per token of the HTTP client on the token path: ours against aiohttp, side by side in one run.

    python tests/benchmarks/http_clients.py --tokens 3000 --rounds 5

A server in another process sends one server-sent event a token, paced. aiohttp is not a dependency: install it beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
EVENT = b"data: " + json.dumps({"content": " word", "stop": False, "timings": {"a": 1.5}}).encode() + b"\n\n"
SERVER = f"""
import asyncio, sys
EVENT = {EVENT!r}
async def answer(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
    count = int(await reader.readexactly(length))
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    chunk = b"%x\\r\\n" % len(EVENT) + EVENT + b"\\r\\n"
    for _ in range(count):
        writer.write(chunk)
        await asyncio.sleep(0.001)
    writer.write(b"0\\r\\n\\r\\n")
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def ours(port: int, tokens: int) -> int:
    """Read a stream with modules/drivers/http_client.py; the events seen."""
    from modules.drivers.http_client import HttpClient, events

    client = HttpClient(f"http://127.0.0.1:{port}", "key")
    connection = await client.stream("/", tokens)
    seen = 0
    async for batch in events(connection):
        seen += len(batch)
    client.release(connection)
    await client.close()
    return seen


async def theirs(port: int, tokens: int) -> int:
    """The same with aiohttp, reading what has arrived."""
    import aiohttp

    seen, rest = 0, b""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{port}/", data=str(tokens).encode()) as answer:
            async for data in answer.content.iter_any():
                *whole, rest = (rest + data).split(b"\n\n")
                seen += len(whole)
    return seen


def main() -> None:
    """Print microseconds of processor time a token, of each round in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        figures: dict[str, list[float]] = {"ours": [], "aiohttp": []}
        try:
            import uvloop

            runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        except ImportError:
            runner = asyncio.Runner()
        with runner:
            for number in range(options.rounds + 1):
                for name, read in (("ours", ours), ("aiohttp", theirs)):
                    began = time.process_time()
                    assert runner.run(read(port, options.tokens)) == options.tokens
                    if number:  # the first round warms up
                        figures[name].append((time.process_time() - began) / options.tokens * 1e6)
        server.kill()
    for name, found in figures.items():
        print(f"{name}: {statistics.median(found):.1f} µs a token ({min(found):.1f}–{max(found):.1f}, n={len(found)})")
    print(f"aiohttp − ours: {statistics.median(figures['aiohttp']) - statistics.median(figures['ours']):+.1f} µs")


if __name__ == "__main__":
    main()

"""A small load generator that reads chat completions as server-sent events and keeps time.

Run as its own process so that it shares no interpreter with the server it measures:

    python tests/benchmarks/sse_load.py '{"url": …, "key": …, "streams": 4, "tokens": 128, "model": …}'

prints one JSON line: tokens, seconds from the first request to the last token. The client is deliberately bare (asyncio
streams, no JSON parsing on the token path), so that what is compared is the servers.

    python tests/benchmarks/sse_load.py '{"rounds": 40, "targets": [JOB, JOB]}'

asks short replies of the targets in turn, one at a time, and prints each one's times to the first token in ms.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

TOPICS = (
    "the sea", "a garden", "an old clock", "two brothers", "rain in spring", "a lighthouse", "bread", "the moon",
    "a lost letter", "snow", "a small harbour", "the last train", "a violin", "a river", "glass", "winter birds",
)  # fmt: skip


def body(job: dict[str, Any], index: int) -> bytes:
    topic = TOPICS[index % len(TOPICS)]
    return json.dumps(
        {
            "model": job["model"],
            "messages": [{"role": "user", "content": f"Write a long story about {topic}. {job.get('salt', '')}"}],
            "max_tokens": job["tokens"],
            "temperature": 0,
            "stream": True,
            "ignore_eos": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()


async def one_stream(job: dict[str, Any], index: int) -> dict[str, Any]:
    """Ask once; count content events. Returns seconds to the first content, its end, and the events seen."""
    parts = urlsplit(job["url"])
    payload = body(job, index)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.hostname}:{parts.port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {job['key']}\r\nContent-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
    )
    start = time.perf_counter()
    writer.write(head.encode() + payload)
    await writer.drain()
    status = await reader.readline()
    if b" 200 " not in status:
        raise SystemExit(f"the server answered {status!r}: {(await reader.read(2000))!r}")
    first, count, last, size, usage = 0.0, 0, 0.0, 0, 0
    async for line in reader:
        size += len(line)
        if (
            line.startswith(b"data: {")
            and b'"content":"' in line.replace(b'": "', b'":"')
            and b'"content":""' not in line
        ):
            last = time.perf_counter()
            count += 1
            first = first or last
        if b'"completion_tokens":' in line:
            usage = int(line.split(b'"completion_tokens":')[1].split(b",")[0].split(b"}")[0])
    writer.close()
    return {
        "first": first - start,
        "end": last,
        "start": start,
        "events": count,
        "bytes": size,
        "tokens": usage or count,
    }


async def run(job: dict[str, Any]) -> dict[str, Any]:
    results = await asyncio.gather(*(one_stream(job, index) for index in range(job["streams"])))
    seconds = max(r["end"] for r in results) - min(r["start"] for r in results)
    tokens = sum(r["tokens"] for r in results)
    return {
        "tokens": tokens,
        "seconds": seconds,
        "per_second": tokens / seconds,
        "bytes_per_token": sum(r["bytes"] for r in results) / max(1, tokens),
    }


async def first_tokens(job: dict[str, Any]) -> dict[str, Any]:
    """Times to the first token, in ms, one list per target. Who is asked first changes from round to round."""
    times: list[list[float]] = [[] for _ in job["targets"]]
    for number in range(job["rounds"] + 1):
        order = list(enumerate(job["targets"]))
        for place, target in order if number % 2 else reversed(order):
            result = await one_stream(target, 0)
            if number:  # the first round warms the prompt cache
                times[place].append(result["first"] * 1000)
            await asyncio.sleep(0.02)  # the engine's threads come to rest, as they do between a person's messages
    return {"first_ms": times}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(first_tokens(asked) if "targets" in asked else run(asked))))

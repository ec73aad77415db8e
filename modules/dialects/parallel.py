"""Several replies at once: n choices, several prompts. Ending one way or another ends all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from modules.generation.pipeline import Generation, Result
from modules.types import Chunk, Done, Failed, GenerationRequest

WAITING = 64  # chunks that may wait for a slow client before the engines are slowed down


async def results(generation: Generation, requests: Sequence[GenerationRequest]) -> list[Result]:
    """All replies, in the order of the requests. The first failure cancels the others and is raised."""
    if len(requests) == 1:
        return [await generation.run(requests[0])]
    tasks = [asyncio.ensure_future(generation.run(request)) for request in requests]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def chunks(
    generation: Generation, requests: Sequence[GenerationRequest]
) -> AsyncGenerator[tuple[int, Chunk], None]:
    """(number of the request, chunk) as they come, until every reply has ended."""
    queue: asyncio.Queue[tuple[int, Chunk]] = asyncio.Queue(WAITING)

    async def pump(number: int, stream: AsyncGenerator[Chunk, None]) -> None:
        try:
            async for chunk in stream:
                await queue.put((number, chunk))
        finally:
            await stream.aclose()

    tasks = [asyncio.ensure_future(pump(n, generation.stream(request))) for n, request in enumerate(requests)]
    open_ = len(tasks)
    try:
        while open_:
            number, chunk = await queue.get()
            open_ -= isinstance(chunk, (Done, Failed))
            yield number, chunk
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

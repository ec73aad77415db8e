"""One extension's wrapper around a reply, kept from harming the reply.

The wrapper reads the chunks through a tap. When it raises, sits on a chunk too long or yields something
that is no chunk, it is dropped: the chunk it was holding and everything after it go out unwrapped. A reply
always ends with its own Done or Failed, also when the wrapper swallowed it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol, get_args

from modules.hooks.calls import describe
from modules.types import Chunk, Done, Failed, Notice

log = logging.getLogger(__name__)
CHUNK_TYPES = frozenset(get_args(Chunk))


class Report(Protocol):
    """Tells of a fault and gives the Notice to show."""

    def __call__(self, problem: str, hung: bool = False) -> Notice: ...


class _Tap:
    """The chunks as the wrapper reads them. Knows what the wrapper holds and since when."""

    def __init__(self, source: AsyncGenerator[Chunk, None], limit_s: float) -> None:
        self._source = source
        self._limit_s = limit_s
        self.held: Chunk | None = None
        self.end: Chunk | None = None
        self.clock: asyncio.Timeout | None = None

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        self.held = None
        if self.end is not None:
            raise StopAsyncIteration
        if self.clock is not None:
            self.clock.reschedule(None)  # waiting for the engine is not the wrapper's fault
        chunk = await self._source.__anext__()
        self.held = chunk
        if type(chunk) is Done or type(chunk) is Failed:
            self.end = chunk
        if self.clock is not None:
            self.clock.reschedule(asyncio.get_running_loop().time() + self._limit_s)
        return chunk


async def _next(wrapped: AsyncIterator[Chunk], tap: _Tap, limit_s: float) -> Chunk:
    """The wrapper's next chunk. Raises TimeoutError when the wrapper, not the engine, takes too long."""
    async with asyncio.timeout(limit_s) as clock:
        tap.clock = clock
        try:
            return await wrapped.__anext__()
        finally:
            tap.clock = None


async def guarded(
    source: AsyncGenerator[Chunk, None],
    begin: Callable[[AsyncIterator[Chunk]], Any],
    report: Report,
    limit_s: float,
) -> AsyncGenerator[Chunk, None]:
    """`source` as wrapped by `begin(tap)`. Closing this closes the wrapper and the source."""
    tap = _Tap(source, limit_s)
    wrapped: Any = None
    ended = False
    try:
        problem, hung = "", False
        try:
            wrapped = begin(tap)
            if wrapped is not None and not hasattr(wrapped, "__anext__"):
                problem = f"it returned {type(wrapped).__name__} instead of an async iterator or None"
        except (Exception, SystemExit) as error:
            problem = describe(error)
        while wrapped is not None and not problem:
            try:
                chunk = await _next(wrapped, tap, limit_s)
            except StopAsyncIteration:
                break
            except TimeoutError:
                problem, hung = f"it held one chunk longer than {limit_s:g} s", True
                break
            except (Exception, SystemExit) as error:
                problem = describe(error)
                break
            if type(chunk) not in CHUNK_TYPES:
                problem = f"it yielded {type(chunk).__name__}, which is no chunk"
                break
            tap.held = None
            ended = type(chunk) is Done or type(chunk) is Failed
            yield chunk
            if ended:
                return
        if problem:
            yield report(problem, hung)
        if tap.held is not None:
            ended = type(tap.held) is Done or type(tap.held) is Failed
            yield tap.held
        async for chunk in source:
            ended = type(chunk) is Done or type(chunk) is Failed
            yield chunk
        if not ended and tap.end is not None:
            yield tap.end
    finally:
        await _close(wrapped)
        await source.aclose()


async def _close(wrapped: Any) -> None:
    """End the wrapper; what it raises while it ends has no reply left to harm."""
    close = getattr(wrapped, "aclose", None)
    if close is None:
        return
    try:
        async with asyncio.timeout(1):
            await close()
    except (Exception, SystemExit) as error:
        log.warning("a wrap_stream failed while it was closed: %s", describe(error))

"""Several servers of the same model as one engine: who is up, who has read the conversation, who has least to do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from loaders.base import LoaderSpec
from modules.drivers.base import Engine
from modules.drivers.cache_affinity import Prefixes, chain
from modules.drivers.health import Health
from modules.errors import EngineError, EnginehouseError, NotReady, RateLimited, from_dict
from modules.types import (
    Chunk,
    Decision,
    Embeddings,
    EngineInfo,
    Failed,
    GenerationRequest,
    Message,
    Notice,
    Ranking,
    Reasoning,
    Text,
)  # fmt: skip

T = TypeVar("T")
AWAY = frozenset({"engine_unreachable", "engine_timeout", "engine_unavailable", "certificate_bad", "not_ready",
                  "adapters_changed"})  # fmt: skip
"""Errors that are the server's state and not the request's fault: another server may do it."""
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds a server that has too much to do comes after all others: where it names no time, and at most."""
MUCH_MORE = 2
"""Replies a server may be ahead of the least busy one and still get the conversations it knows."""
CHECK_UP, CHECK_FIRST, CHECK_LAST = 20.0, 1.0, 30.0
"""Seconds between two checks: of a server that is up, and of one that is down (doubling from first to last)."""

logger = logging.getLogger(__name__)


class Server(Engine, Protocol):
    """An engine at one address."""

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class Member:
    """One server of the fleet.

    down   why it cannot be used, None when it can
    last   counts up with each use
    waits  the time (time.monotonic) until which others come first, because it had too much to do
    """

    server: Server
    health: Health
    running: int = 0
    down: EnginehouseError | None = None
    read: Prefixes = field(default_factory=Prefixes)
    told: bool = False
    last: int = 0
    waits: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def where(self) -> str:
        return self.health.where

    @property
    def slots(self) -> int:
        return max(1, self.server.info.slots)

    @property
    def load(self) -> float:
        """How full it is."""
        return self.running / self.slots


class Fleet:
    """`Engine` over several. A reply that has begun stays where it is; one that has not goes to another server."""

    def __init__(self, servers: Sequence[tuple[Server, Health]], info: EngineInfo, spec: LoaderSpec) -> None:
        self.info = info
        self.spec = spec
        self.members = [Member(server, health) for server, health in servers]
        self._watching: list[asyncio.Task[None]] = []
        self._uses = 0
        self._closed = False
        self.check_up, self.check_first, self.check_last = CHECK_UP, CHECK_FIRST, CHECK_LAST

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See Engine."""
        self._watch()
        hashes = chain(request)
        tried: list[Member] = []
        refused: list[EnginehouseError] = []
        passed: Member | None = None
        for notice in self._news():
            yield notice
        while True:
            try:
                member = self._choose(hashes, tried, refused).value
            except EnginehouseError as error:
                yield Failed(error.as_dict())
                return
            if passed is not None:
                yield _passed_on(passed, refused[-1], member)
            tried.append(member)
            lost: Failed | None = None
            begun = False
            self._uses += 1
            member.last = self._uses
            member.running += 1
            new, waits = member.read.add(hashes), member.waits
            try:
                async with aclosing(member.server.generate(request)) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Failed) and (_busy(chunk.error) or chunk.error.get("code") in AWAY):
                            lost = chunk
                            break
                        begun = begun or isinstance(chunk, (Text, Reasoning))
                        yield chunk
            finally:
                member.running -= 1
            if lost is None:
                member.waits = 0.0 if member.waits == waits else member.waits  # it had time after all
                return
            if not begun:
                member.read.remove(new)
            passed = member if self._failed(member, from_dict(dict(lost.error)), refused) else None
            if begun:
                yield lost
                return
            for notice in self._news():
                yield notice

    # ── choosing ────────────────────────────────────────────────────────────────────────────────────

    def _choose(
        self, hashes: list[bytes], tried: Sequence[Member] = (), refused: Sequence[EnginehouseError] = ()
    ) -> Decision[Member]:
        """The server for a request.

        tried, refused   the servers it was sent to already, and what those said that have too much to do
        Raises RateLimited or NotReady when there is none.
        """
        left = [member for member in self.members if member.down is None and member not in tried]
        if not left:
            raise self._all_busy(refused) if refused else self._none_left()
        now = time.monotonic()
        up = [member for member in left if member.waits <= now]
        if not up:
            first = min(left, key=lambda member: member.waits)
            return Decision(first, f"All that are left had too much to do; {first.where} named the nearest time.")
        least = min(up, key=lambda member: (member.load, member.last))  # equals take turns
        known = max(up, key=lambda member: (member.read.shared(hashes), -member.load))
        if known.read.shared(hashes) and known is not least:
            ahead = known.running - least.running
            waits = known.running >= known.slots and least.running < least.slots
            if ahead > MUCH_MORE or waits:
                return Decision(least, f"{known.where} has read this conversation, but has much more to do.")
            return Decision(known, f"{known.where} has read this conversation already.")
        return Decision(least, f"{least.where} has least to do.")

    def _all_busy(self, refused: Sequence[EnginehouseError]) -> EnginehouseError:
        """Nobody can answer, and at least one only for now: its caller is told the nearest time there is."""
        down = [f"{one.where}: {one.down.message}" for one in self.members if one.down is not None]
        said = " ".join(f"{one.rstrip('.')}." for one in (*(error.message for error in refused), *down))
        limited = any(isinstance(error, RateLimited) for error in refused)
        error = (RateLimited if limited else NotReady)(
            f"None of the {len(self.members)} servers can answer now. {said}", hint="Wait a little, then try again.",
            code=None if limited else "engine_unavailable")  # fmt: skip
        error.retry_after = min((one.retry_after for one in refused if one.retry_after is not None), default=None)
        return error

    def _none_left(self) -> NotReady:
        said = "; ".join(f"{one.where}: {one.down.message}" for one in self.members if one.down is not None)
        hint = "They are looked at again and again; messages are answered as soon as one is back."
        return NotReady(f"None of the {len(self.members)} servers can be used. {said}", hint=hint, code="fleet_down")

    # ── up and down ─────────────────────────────────────────────────────────────────────────────────

    def _failed(self, member: Member, error: EnginehouseError, refused: list[EnginehouseError]) -> bool:
        """A server did not do a request: it is away, or (True, and `refused` has it) it has too much to do."""
        if not _busy(error.as_dict()):
            self._lost(member, error.message)
            return False
        wait = SHORTEST_WAIT if error.retry_after is None else min(error.retry_after, LONGEST_WAIT)
        member.waits = time.monotonic() + wait
        refused.append(error)
        return True

    def _lost(self, member: Member, said: str) -> None:
        """A server is away."""
        if member.down is None:
            logger.warning("%s is down: %s", member.where, said)
        member.down = EngineError(said)
        member.told = False
        member.read.clear()
        member.changed.set()  # its watcher looks more often from now on

    def _news(self) -> list[Notice]:
        """What those who ask are told once: servers that went away."""
        gone = [member for member in self.members if member.down is not None and not member.told]
        for member in gone:
            member.told = True
        return [
            Notice("server_changed", f"{one.where} cannot be used now ({one.down.message if one.down else ''}) "
                   "Another server answers.")
            for one in gone
        ]  # fmt: skip

    def _watch(self) -> None:
        """Start looking after the servers, once."""
        if not self._watching:
            self._watching = [
                asyncio.create_task(self._look_after(member), name=f"looks after {member.where}")
                for member in self.members
            ]

    async def _look_after(self, member: Member) -> None:
        """Looks at one server again and again: rarely while it is up, at growing distances while it is down."""
        wait = self.check_first
        while not self._closed:  # a cancellation may be lost in what is waited for
            if member.down is None:
                wait = self.check_first
            member.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.check_up if member.down is None else wait):
                    await member.changed.wait()
                continue  # it went down just now: the waiting begins anew, with the shortest time
            error = await member.health.check()
            if error is None:
                if member.down is not None:
                    logger.info("%s is back", member.where)
                member.down = None
            elif member.down is None:
                self._lost(member, error.message)
            else:
                wait = min(wait * 2, self.check_last)

    # ── what any server can do ──────────────────────────────────────────────────────────────────────

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> str:
        """See Engine."""
        return await self._any(lambda server: server.render(messages, variables, continue_last))

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """See Engine."""
        return await self._any(lambda server: server.tokenize(text, special))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See Engine."""
        return await self._any(lambda server: server.detokenize(tokens))

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """See Engine."""
        return await self._any(lambda server: server.embed(texts))

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranking:
        """See Engine."""
        return await self._any(lambda server: server.rerank(query, documents))

    async def _any(self, ask: Callable[[Server], Awaitable[T]]) -> T:
        """Ask the least busy server, and the next when that one is away."""
        self._watch()
        tried: list[Member] = []
        refused: list[EnginehouseError] = []
        while True:
            member = self._choose([], tried, refused).value
            tried.append(member)
            member.running += 1
            try:
                return await ask(member.server)
            except EnginehouseError as error:
                if error.code not in AWAY and not _busy(error.as_dict()):
                    raise
                self._failed(member, error, refused)
            finally:
                member.running -= 1

    async def close(self) -> None:
        """Stop looking, and hang up everywhere."""
        self._closed = True
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._watching.clear()
        for member in self.members:
            await member.server.close()
            await member.health.close()


def _busy(error: Mapping[str, Any]) -> bool:
    """Whether a server has too much to do, by its own words: it lives, and another may do it now."""
    return error.get("code") == RateLimited.code or (
        error.get("status") == NotReady.status and error.get("retry_after") is not None
    )


def _passed_on(member: Member, error: EnginehouseError, other: Member) -> Notice:
    wait = max(0.0, member.waits - time.monotonic())
    return Notice("server_busy", f"{error.message.rstrip('.')}. So {other.where} answers, and for {wait:.0f} seconds "
                  f"others come before {member.where}.")  # fmt: skip

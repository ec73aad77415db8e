"""Several servers of the same model as one engine: who is up, who has read the conversation, who has least to do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from loaders.base import LoaderSpec
from modules.engine.base import Engine
from modules.engine.health import Health
from modules.engine.prefixes import Prefixes, chain
from modules.errors import EngineError, EnginehouseError, NotReady
from modules.types import (
    Chosen,
    Chunk,
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
AWAY = frozenset({"engine_unreachable", "engine_timeout", "engine_unavailable", "certificate_bad", "not_ready"})
"""Errors that are the server's state and not the request's fault: another server may do it."""
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
    """One server of the fleet. `down` is why it cannot be used, None when it can; `last` counts up with each use."""

    server: Server
    health: Health
    running: int = 0
    down: EnginehouseError | None = None
    read: Prefixes = field(default_factory=Prefixes)
    told: bool = False
    last: int = 0
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
        self.check_up, self.check_first, self.check_last = CHECK_UP, CHECK_FIRST, CHECK_LAST

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See Engine."""
        self._watch()
        hashes = chain(request)
        tried: list[Member] = []
        for notice in self._news():
            yield notice
        while True:
            try:
                member = self._choose(hashes, tried).value
            except EnginehouseError as error:
                yield Failed(error.as_dict())
                return
            tried.append(member)
            lost: Failed | None = None
            begun = False
            self._uses += 1
            member.last = self._uses
            member.running += 1
            member.read.add(hashes)
            try:
                async with aclosing(member.server.generate(request)) as chunks:
                    async for chunk in chunks:
                        if isinstance(chunk, Failed) and chunk.error.get("code") in AWAY:
                            lost = chunk
                            break
                        begun = begun or isinstance(chunk, (Text, Reasoning))
                        yield chunk
            finally:
                member.running -= 1
            if lost is None:
                return
            self._lost(member, str(lost.error.get("message", "")))
            if begun:
                yield lost
                return
            for notice in self._news():
                yield notice

    # ── choosing ────────────────────────────────────────────────────────────────────────────────────

    def _choose(self, hashes: list[bytes], tried: Sequence[Member] = ()) -> Chosen[Member]:
        """The server for a request. Raises NotReady when there is none."""
        up = [member for member in self.members if member.down is None and member not in tried]
        if not up:
            raise self._none_left()
        least = min(up, key=lambda member: (member.load, member.last))  # equals take turns
        known = max(up, key=lambda member: (member.read.shared(hashes), -member.load))
        if known.read.shared(hashes) and known is not least:
            ahead = known.running - least.running
            waits = known.running >= known.slots and least.running < least.slots
            if ahead > MUCH_MORE or waits:
                return Chosen(least, f"{known.where} has read this conversation, but has much more to do.")
            return Chosen(known, f"{known.where} has read this conversation already.")
        return Chosen(least, f"{least.where} has least to do.")

    def _none_left(self) -> NotReady:
        said = "; ".join(f"{one.where}: {one.down.message}" for one in self.members if one.down is not None)
        hint = "They are looked at again and again; messages are answered as soon as one is back."
        return NotReady(f"None of the {len(self.members)} servers can be used. {said}", hint=hint, code="fleet_down")

    # ── up and down ─────────────────────────────────────────────────────────────────────────────────

    def _lost(self, member: Member, said: str) -> None:
        """A server failed a request."""
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
        while True:
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
        while True:
            member = self._choose([], tried).value
            tried.append(member)
            member.running += 1
            try:
                return await ask(member.server)
            except EnginehouseError as error:
                if error.code not in AWAY:
                    raise
                self._lost(member, error.message)
            finally:
                member.running -= 1

    async def close(self) -> None:
        """Stop looking, and hang up everywhere."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._watching.clear()
        for member in self.members:
            await member.server.close()
            await member.health.close()

"""An engine and a lender of it, in this process: for tests of what stands above engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from loaders.base import Feature, LoaderSpec
from modules.errors import EnginehouseError
from modules.messages.parts import ImagePart, TextPart
from modules.sampling.params import ECHO, dialect
from modules.tasks import EmbedRequest, Task
from modules.types import (
    Chunk,
    Done,
    Embeddings,
    EngineInfo,
    GenerationRequest,
    Message,
    Notice,
    Progress,
    Ranking,
    RenderedPrompt,
    Stats,
    Text,
)  # fmt: skip


def rendered(between: str, messages: Sequence[Message], end: str = "") -> RenderedPrompt:
    """Each message as `role: text`, with the places of its images."""
    text, places = "", list[int]()
    for message in messages:
        text += f"{between if text else ''}{message.role}: "
        for part in message.content:
            if isinstance(part, ImagePart):
                places.append(len(text))
            text += part.text if isinstance(part, TextPart) else ""
    return RenderedPrompt(text + end, tuple(places))


@dataclass
class StandIn:
    """Plays `chunks`; a number is a pause in seconds. Remembers what it was asked and how it ended."""

    chunks: Sequence[Any] = (Text("hi"), Done("stop", Stats(3, 0, 1)))
    context: int = 4096
    template: bool = True
    prompt_end: str = ""
    features: frozenset[Feature] = frozenset(Feature)
    renders_templates: bool = True
    adapters: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    scores: Sequence[float] = ()
    requests: list[GenerationRequest] = field(default_factory=list)
    running: int = 0
    cancelled: int = 0

    def __post_init__(self) -> None:
        self.info = EngineInfo("stand-in", "test", self.context, chat_template=self.template,
                               renders_templates=self.renders_templates,
                               adapters=self.adapters, details=self.details)  # fmt: skip
        self.spec = LoaderSpec("test", "Test", (), (), dialect(ECHO), self.features, "nowhere:load")

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        self.running += 1
        ended = False
        try:
            for chunk in self.chunks:
                if isinstance(chunk, (int, float)):
                    await asyncio.sleep(chunk)
                elif isinstance(chunk, Exception):
                    raise chunk
                else:
                    ended = isinstance(chunk, Done)
                    yield chunk
        finally:
            self.running -= 1
            self.cancelled += not ended

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt:
        return rendered("\n", messages, self.prompt_end)

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        return list(text.encode())

    async def detokenize(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()

    async def call(self, task: Task[Any, Any], request: Any) -> Any:
        if isinstance(request, EmbedRequest):
            return Embeddings(tuple((0.6, 0.0, 0.8) for _ in request.texts), sum(map(len, request.texts)))
        return Ranking(tuple(self.scores), sum(map(len, request.documents)))


@dataclass
class Lender:
    """Lends one engine; `out` counts leases that were not given back."""

    engine: StandIn
    notices: tuple[Notice, ...] = ()
    progress: tuple[Progress, ...] = ()
    wait: float = 0.0
    error: EnginehouseError | None = None
    out: int = 0
    lent: int = 0
    names: list[str | None] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)

    def excuse_crash(self, name: str) -> None:
        self.excused.append(name)

    def lease(
        self, name: str | None, on_progress: Callable[[Progress], None] | None = None, writes: bool = False
    ) -> AbstractAsyncContextManager[Any]:
        return self._lend(name, on_progress)

    @asynccontextmanager
    async def _lend(self, name: str | None, on_progress: Any) -> AsyncIterator[Lender]:
        self.names.append(name)
        self.out += 1
        try:
            for progress in self.progress:
                on_progress(progress)
                await asyncio.sleep(0.005)
            if self.wait:
                await asyncio.sleep(self.wait)
            if self.error is not None:
                raise self.error
            self.lent += 1
            yield self
        finally:
            self.out -= 1

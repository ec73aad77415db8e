"""An engine whose text leaves this machine: whoever asks first is told so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from modules.drivers.base import Engine
from modules.tasks import A, Q, Task
from modules.types import Chunk, GenerationRequest, Message, Notice, RenderedPrompt


class Closing(Engine, Protocol):
    """An engine whose connections are closed."""

    async def close(self) -> None: ...


class RemoteNoticeEngine:
    """`engine`, with a Notice in its first reply. Later replies pass nothing that costs time."""

    def __init__(self, engine: Closing) -> None:
        self.info = engine.info
        self.spec = engine.spec
        self.engine = engine
        self._told = False

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See Engine."""
        if self._told:
            return self.engine.generate(request)
        self._told = True
        return self._telling(request)

    async def _telling(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        yield Notice("leaves_machine", f"What is sent to {self.info.model} leaves this machine: it goes to "
                     f"{self.info.sends_to}.")  # fmt: skip
        chunks = self.engine.generate(request)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt:
        """See Engine."""
        return await self.engine.render(messages, variables, continue_last)

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """See Engine."""
        return await self.engine.tokenize(text, special)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See Engine."""
        return await self.engine.detokenize(tokens)

    async def call(self, task: Task[Q, A], request: Q) -> A:
        """See Engine."""
        return await self.engine.call(task, request)

    async def close(self) -> None:
        """Hang up."""
        await self.engine.close()

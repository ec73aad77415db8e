"""The contract of a loaded engine, as everything above it sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from loaders.base import LoaderSpec
from modules.types import Chunk, Embeddings, EngineInfo, GenerationRequest, Message, Ranking, RenderedPrompt


class Engine(Protocol):
    """A model that is loaded and answers, wherever it runs.

    `generate` needs `request.prompt` (rendered text or token ids; `messages` are not looked at), or, where
    `info.renders_templates` is False, the `request.messages` of a chat. It ends with exactly one Done or
    Failed and raises nothing for an engine's fault. `aclose()` on it cancels the request in the engine at once. Text
    holds whole characters and may stand for several tokens. Stop strings are not its business.

    `render` runs the model's own chat template in the worker, because a template is untrusted code.
    `continue_last` leaves the last message open, so that the reply goes on from it. `variables` go to the template as
    they are; `tools` among them are the functions on offer. Images are given as places in the text.

    `embed` and `rerank` are there where the spec has Feature.EMBEDDINGS and Feature.RERANK.

    All but `generate` raise EngineError, Unsupported or a BadRequest.
    """

    info: EngineInfo
    spec: LoaderSpec

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]: ...

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt: ...

    async def tokenize(self, text: str, special: bool = True) -> list[int]: ...

    async def detokenize(self, tokens: Sequence[int]) -> str: ...

    async def embed(self, texts: Sequence[str]) -> Embeddings: ...

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranking: ...

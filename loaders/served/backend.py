"""The worker's side of an engine that is spoken to at its endpoint: there is nothing for it to do itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modules.errors import EngineError
from modules.types import Chunk, Embeddings, EngineInfo, GenerationRequest, Message


class EndpointBackend:
    """Holds what a loaded endpoint is, and what has to be closed with it."""

    def __init__(self, info: EngineInfo, close: Callable[[], None] = lambda: None) -> None:
        self.info = info
        self._close = close

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        raise _elsewhere()

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        raise _elsewhere()

    def tokenize(self, text: str, special: bool) -> list[int]:
        raise _elsewhere()

    def detokenize(self, tokens: list[int]) -> str:
        raise _elsewhere()

    def embed(self, texts: list[str], cancelled: Callable[[], bool]) -> Embeddings:
        raise _elsewhere()

    def close(self) -> None:
        """End the server, if it is ours."""
        self._close()


def _elsewhere() -> EngineError:
    return EngineError("This engine is spoken to at its endpoint.")

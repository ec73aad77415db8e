"""The worker's side of an engine that is spoken to at its endpoint: it renders chats, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from modules.errors import EngineError
from modules.types import Chunk, EngineInfo, GenerationRequest, Message


class Template(Protocol):
    """What renders chats for an endpoint that takes prompts."""

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str: ...


class EndpointBackend:
    """Holds what a loaded endpoint is, and what has to be closed with it. Chats are rendered here by its `template`."""

    def __init__(
        self, info: EngineInfo, close: Callable[[], None] = lambda: None, template: Template | None = None
    ) -> None:
        self.info = info
        self._close = close
        self._template = template

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        raise _elsewhere()

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        """The prompt of a chat. Raises BadRequest when the template refuses it."""
        if self._template is None:
            raise _elsewhere()
        return self._template.render(messages, variables, continue_last)

    def tokenize(self, text: str, special: bool) -> list[int]:
        raise _elsewhere()

    def detokenize(self, tokens: list[int]) -> str:
        raise _elsewhere()

    def close(self) -> None:
        """End the server, if it is ours."""
        self._close()


def _elsewhere() -> EngineError:
    return EngineError("This engine is spoken to at its endpoint.")

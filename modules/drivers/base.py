"""The contract of a loaded engine, as everything above it sees it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from loaders.base import LoaderSpec
from modules.errors import Unsupported
from modules.tasks import A, Q, Task
from modules.types import Chunk, EngineInfo, GenerationRequest, Message, RenderedPrompt


class Engine(Protocol):
    """A model that is loaded and answers, wherever it runs.

    `generate` needs `request.prompt` (rendered text or token ids; `messages` are not looked at), or, where
    `info.renders_templates` is False, the `request.messages` of a chat. It ends with exactly one Done or
    Failed and raises nothing for an engine's fault. `aclose()` on it cancels the request in the engine at once. Text
    holds whole characters and may stand for several tokens. Stop strings are not its business.

    `render` runs the model's own chat template in the worker, because a template is untrusted code.
    `continue_last` leaves the last message open, so that the reply goes on from it. `variables` go to the template as
    they are; `tools` among them are the functions on offer. Images are given as places in the text.

    `call` asks for anything else, by a row of modules/tasks.py. Unsupported where the engine has no such task.

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

    async def call(self, task: Task[Q, A], request: Q) -> A: ...


def no_task(spec: LoaderSpec, task: Task[Any, Any]) -> Unsupported:
    """The error of every driver for a task that its engine does not have."""
    return Unsupported(f"The loader {spec.name} does not offer {task.feature or task.name}.",
                       hint="Use a model and a loader that offer it.", param="model")  # fmt: skip

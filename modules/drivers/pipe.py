"""An engine that runs inside our worker and is spoken to in JSON lines: echo, and every Python engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from loaders.base import LoaderSpec, offers
from loaders.text.media_mark import marked_prompt, rendered, without_marks
from modules.drivers.base import no_task
from modules.drivers.worker_call import call
from modules.engine import protocol
from modules.engine.chunk_buffer import ChunkBuffer
from modules.engine.in_flight import InFlight
from modules.engine.process import WorkerProcess
from modules.errors import BadRequest, EngineError, EnginehouseError
from modules.messages.parts import TextPart
from modules.sampling.params import BY_NAME, without_neutral
from modules.tasks import A, Q, Task
from modules.types import (
    Chunk,
    Done,
    EngineInfo,
    Failed,
    GenerationRequest,
    Message,
    RenderedPrompt,
)


class PipeEngine:
    """`Engine` over a worker's pipes. One object per loaded model; requests share the pipes."""

    def __init__(self, process: WorkerProcess, info: EngineInfo, spec: LoaderSpec) -> None:
        self.info = info
        self.spec = spec
        self._process = process

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See Engine. Pieces of text that wait for a slow reader are joined; too much else ends the reply."""
        chunks = ChunkBuffer()
        key = 0

        def arrived(line: protocol.Line) -> None:
            chunk = protocol.read_chunk(line)
            if isinstance(chunk, (Done, Failed)):
                self._process.close_key(key)
                turn.end()
            if not chunks.put(chunk):
                self._process.cancel(key)

        try:
            line_for = self._line(request)
            key = self._process.open(arrived)
            line = protocol.generate_line(key, line_for)
        except EnginehouseError as error:
            yield Failed(error.as_dict())
            return
        except TypeError as error:  # half a character in a grammar, say, or a number too large
            self._process.close_key(key)
            yield Failed(BadRequest(f"This cannot be sent to the engine: {error}").as_dict())
            return
        turn = InFlight(self._process)
        self._process.send(line)
        try:
            while True:
                chunk = await chunks.take()
                turn.pause()
                yield chunk
                turn.resume()
                if isinstance(chunk, (Done, Failed)):
                    return
                if chunks:
                    await asyncio.sleep(0)  # a long backlog must hold up neither others nor the hang-up of its reader
        finally:
            turn.resume()
            self._process.cancel(key)

    def _line(self, request: GenerationRequest) -> GenerationRequest:
        """The request as the engine gets it: its own names, and only what is not neutral."""
        if not request.prompt and (self.info.renders_templates or not request.messages):
            raise BadRequest("The prompt is empty.", hint="Send at least one character or token.", param="prompt")
        values = {name: value for name, value in request.params.items() if name in BY_NAME}
        honoured = {
            self.spec.samplers[name]: value
            for name, value in without_neutral(values).items()
            if name in self.spec.samplers
        }
        request = replace(request, params=honoured, negative_prompt=without_marks(request.negative_prompt))
        if self.info.renders_templates or request.messages is None:
            prompt = request.prompt
            if isinstance(prompt, str):  # marked first: places count characters of the prompt as it came
                prompt = _sendable(marked_prompt(prompt, request.image_places))
            return replace(request, messages=None, prompt=prompt, image_places=(), template_vars={})
        messages = tuple(_sendable_message(message) for message in request.messages)
        return replace(request, messages=messages, prompt=None)

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt:
        """See Engine."""
        return rendered(messages, await call(
            self._process, "render", messages=messages, variables=variables, continue_last=continue_last
        ))  # fmt: skip

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """See Engine."""
        return list(await call(self._process, "tokenize", text=text, special=special))

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See Engine."""
        return str(await call(self._process, "detokenize", tokens=list(tokens)))

    async def call(self, task: Task[Q, A], request: Q) -> A:
        """See Engine. Whoever stops waiting stops the computation too."""
        if not offers(self.spec, self.info, task):
            raise no_task(self.spec, task)
        asked = _unmarked(asdict(request))  # type: ignore[call-overload]
        found = await call(self._process, "task", stops=True, task=task.name, request=asked)
        try:
            return task.read(found)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"What the engine answers to {task.name} is not readable: {error!r}") from error

    async def close(self) -> None:
        """Nothing to close: the pipes are the worker's."""


def _unmarked(value: Any) -> Any:
    """A request without the marks of images that a person may have typed into one of its texts."""
    if isinstance(value, str):
        return without_marks(value)
    if isinstance(value, Mapping):
        return {name: _unmarked(inner) for name, inner in value.items()}
    return [_unmarked(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _sendable_message(message: Message) -> Message:
    content = tuple(replace(one, text=_sendable(one.text)) if isinstance(one, TextPart) else one
                    for one in message.content)  # fmt: skip
    return replace(message, content=content, reasoning=_sendable(message.reasoning), name=_sendable(message.name))


def _sendable(text: str) -> str:
    """Text without lone surrogates, which cannot cross; the model could not read them either."""
    return text.encode("utf-8", "replace").decode("utf-8")

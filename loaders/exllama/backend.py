"""One backend for both libraries: a request becomes a job, the job's events become chunks."""

from __future__ import annotations

import base64
import io
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from loaders.exllama.folder import ModelFolder
from loaders.exllama.grammar import GrammarTokenizer
from loaders.exllama.model_thread import Event, Generator, ModelThread, Outlet
from loaders.text.media_mark import MEDIA_MARK
from loaders.text.template import ChatTemplate
from loaders.text.template_probe import probe
from modules.errors import BadRequest, ContextOverflow, EngineError, Unsupported
from modules.sampling.params import BY_NAME
from modules.types import (
    Chunk,
    Done,
    EngineInfo,
    FinishReason,
    GenerationRequest,
    Message,
    Notice,
    Progress,
    Stats,
    Text,
    TokenLogprob,
)  # fmt: skip

_LOOK_S = 0.05
"""Seconds between two looks at the cancel flag while the engine says nothing."""
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job is made of. `ids` is the library's tensor of shape (1, length); `grammar` is llguidance's text."""

    ids: Any
    length: int
    limit: int
    seed: int
    values: Values
    grammar: str
    logprobs: int | None
    embeddings: tuple[Any, ...]


class Library(Protocol):
    """One of the two libraries with a loaded model. `job` and the texts run on any thread, `see` on the model's."""

    generator: Generator
    guide: GrammarTokenizer

    def encode(self, text: str, bos: bool, embeddings: tuple[Any, ...]) -> Any: ...
    def tensor(self, tokens: list[int]) -> Any: ...
    def decode(self, tokens: list[int]) -> str: ...
    def see(self, image: Any) -> Any: ...
    def job(self, asked: Asked) -> tuple[Any, list[Notice]]: ...
    def logprobs(self, event: Event, top: int) -> list[TokenLogprob]: ...


class ExLlamaEngine:
    """The backend. `generate` runs in a thread per reply; the GPU is touched by the model's thread alone."""

    def __init__(self, info: EngineInfo, folder: ModelFolder, library: Library, thread: ModelThread) -> None:
        self.info = info
        self._folder = folder
        self._library = library
        self._thread = thread
        self._template = ChatTemplate(folder.template, folder.bos, folder.eos)
        self.info = replace(info, template=probe(self._template))

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        """Answer `request.prompt`."""
        started = time.monotonic()
        asked = self._asked(request)
        job, notices = self._library.job(asked)
        yield from notices
        outlet = self._thread.start(job)
        reply = _Reply(self._library, asked, started, self.info.context)
        try:
            yield from reply.read(outlet, cancelled)
        finally:
            self._thread.cancel(outlet)

    def _asked(self, request: GenerationRequest) -> Asked:
        """Raises what speaks against the request, before anything is computed."""
        loaded = {name: scale for name, scale in self.info.adapters.items() if scale}
        if request.lora is not None and {name: scale for name, scale in request.lora.items() if scale} != loaded:
            raise Unsupported("Here LoRA adapters are the same for every reply.", param="lora",
                              hint="Load the model with the adapters and scales that are wanted.")  # fmt: skip
        embeddings = self._seen(request)
        ids = self._ids(request, embeddings)
        length = int(ids.shape[-1])
        if not length:
            raise BadRequest("The prompt is empty.", hint="Send at least one character or token.", param="prompt")
        room = self.info.context - length
        if room < 1:
            raise ContextOverflow(
                f"The prompt has {length} tokens, but the context is {self.info.context}.",
                hint="Shorten it, or load the model with a larger context.",
            )
        values: dict[str, Any] = {name: param.default for name, param in BY_NAME.items()}
        values |= request.params
        seed = int(values["seed"])
        seed = seed if seed >= 0 else secrets.randbelow(2**31)
        limit = min(int(values["max_tokens"]) or room, room)
        grammar = self._library.guide.grammar(request) if request.grammar or request.json_schema is not None else ""
        return Asked(ids, length, limit, seed, values, grammar, request.logprobs, embeddings)

    def _seen(self, request: GenerationRequest) -> tuple[Any, ...]:
        """The images as the model sees them, one for each mark in the prompt."""
        if not request.images:
            return ()
        marks = request.prompt.count(MEDIA_MARK) if isinstance(request.prompt, str) else 0
        if marks != len(request.images):
            raise BadRequest(f"There are {len(request.images)} images, but {marks} places for them in the prompt.",
                             param="images")  # fmt: skip
        from PIL import Image

        seen = []
        for data in request.images:
            with Image.open(io.BytesIO(base64.b64decode(data))) as file:
                image = file.convert("RGB")
            seen.append(self._thread.call(lambda image=image: self._library.see(image)))  # type: ignore[misc]
        return tuple(seen)

    def _ids(self, request: GenerationRequest, embeddings: tuple[Any, ...]) -> Any:
        if not isinstance(request.prompt, str):
            return self._library.tensor(list(request.prompt or ()))
        text = request.prompt
        for one in embeddings:
            text = text.replace(MEDIA_MARK, one.text_alias, 1)
        return self._library.encode(text, self._needs_bos(text), embeddings)

    def _needs_bos(self, text: str) -> bool:
        """A chat template writes the first token itself: it is not put there twice."""
        return self._folder.adds_bos and not text.startswith(self._folder.bos)

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        """The chat through the folder's template, or a plain one."""
        return self._template.render(messages, variables, continue_last)

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Names of special tokens are read as such; `special` adds what the model puts before a text."""
        ids = self._library.encode(text, special and self._needs_bos(text), ())
        return [int(token) for token in ids[0].tolist()]

    def detokenize(self, tokens: list[int]) -> str:
        return self._library.decode(tokens)

    def close(self) -> None:
        """The process ends, and with it the card's memory."""


class _Reply:
    """The events of one job as chunks."""

    def __init__(self, library: Library, asked: Asked, started: float, context: int) -> None:
        self._library = library
        self._asked = asked
        self._started = started
        self._context = context
        self._first = 0.0
        self._begun = 0.0
        self._tokens = 0
        self._held = 0
        self._logprobs: list[TokenLogprob] = []

    def read(self, outlet: Outlet, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        """Until the job ends, or is cancelled: that is looked at before every event and between them."""
        waited = False
        while not cancelled():
            event = outlet.get(_LOOK_S)
            if event is None:
                if not self._begun and not waited:
                    waited = True
                    yield Progress("queued", 0, 1)
                continue
            if event["stage"] == "error":
                raise EngineError(f"The engine could not compute this reply: {str(event['error'])[:300]}",
                                  hint="The worker's log has the details.") from event["error"]  # fmt: skip
            self._begun = self._begun or time.monotonic()
            if event["stage"] == "prefill":
                yield Progress("prompt", int(event["curr_progress"]), int(event["max_progress"]))
            elif event["stage"] == "streaming":
                yield from self._text(event)
                if event["eos"]:
                    yield self._done(event)
                    return
        yield Done("cancelled", self._stats(0, self._tokens + self._held))

    def _text(self, event: Event) -> Iterator[Text]:
        ids = event.get("token_ids")
        if ids is not None:
            self._held += int(ids.shape[-1])
            self._first = self._first or time.monotonic()
            if self._asked.logprobs is not None:
                self._logprobs += self._library.logprobs(event, self._asked.logprobs)
        if text := event.get("text"):
            yield Text(str(text), self._held, tuple(self._logprobs))
            self._tokens += self._held
            self._held, self._logprobs = 0, []

    def _done(self, event: Event) -> Done:
        reason: FinishReason = "length" if event.get("eos_reason") == "max_new_tokens" else "stop"
        ended_by_token = event.get("eos_reason") == "stop_token"  # it is counted by the library, but is no text
        count = int(event.get("new_tokens", self._tokens)) - int(ended_by_token)
        return Done(reason, self._stats(int(event.get("cached_tokens", 0)), max(count, self._tokens)))

    def _stats(self, cached: int, count: int) -> Stats:
        now = time.monotonic()
        begun, first = self._begun or now, self._first or now
        return Stats(
            prompt_tokens=self._asked.length, cached_tokens=min(cached, self._asked.length), completion_tokens=count,
            prompt_ms=(first - begun) * 1000, completion_ms=(now - first) * 1000, seed=self._asked.seed,
            first_token_ms=(first - self._started) * 1000, queued_ms=(begun - self._started) * 1000,
            context_limit=self._context,
        )  # fmt: skip


def adapter_folder(path: str) -> str:
    """The folder of a PEFT adapter that is named by its folder or by a file in it."""
    found = Path(path)
    return str(found if found.is_dir() else found.parent)

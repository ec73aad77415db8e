"""The engine: one sequence of tokens, one reply after the other, each token under our eyes."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from loaders.base import TaskFunction
from loaders.llama_python.chain import Chain, unused
from loaders.llama_python.constraint import Constraint, Schemas, constraint_of
from loaders.llama_python.images import ImagePart
from loaders.llama_python.model import LlamaModel
from loaders.llama_python.sequence import Prompt, Sequence, stopped_by
from loaders.llama_python.vocabulary import Vocabulary
from loaders.text.embedding_queue import turn
from loaders.text.logprobs import logprob_of
from loaders.text.template import ChatTemplate
from loaders.text.template_probe import probe
from loaders.text.utf8_stream import TextPieces
from modules.errors import BadParameter, BadRequest, Cancelled, ContextOverflow, EngineError, Unsupported
from modules.sampling.params import BY_NAME
from modules.tasks import EMBED
from modules.types import (
    Chunk,
    Done,
    Embeddings,
    EngineInfo,
    FinishReason,
    GenerationRequest,
    Message,
    Progress,
    Stats,
    Text,
    TokenLogprob,
)  # fmt: skip

Values = Mapping[str, Any]


class LlamaPythonEngine:
    """The backend. The worker calls `generate` from one thread; the other methods read only, or have their own lock."""

    def __init__(
        self, info: EngineInfo, loaded: LlamaModel, vocabulary: Vocabulary, images: ImagePart | None, batch: int
    ) -> None:
        self.info = info
        self._loaded = loaded
        self._vocabulary = vocabulary
        self._images = images
        self._sequence = Sequence(loaded.context, batch)
        self._template = ChatTemplate(
            loaded.metadata("tokenizer.chat_template"), vocabulary.name(vocabulary.bos), vocabulary.name(vocabulary.eos)
        )
        self.info = replace(info, template=probe(self._template))
        self._schemas = Schemas(vocabulary)
        self._embedding = threading.Lock()

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        """Answer `request.prompt`."""
        started = time.monotonic()
        values = _values(request)
        seed = int(values["seed"])
        fresh = seed >= 0  # rounding differs between batches: with a seed the prompt is computed from its start
        seed = seed if seed >= 0 else secrets.randbelow(2**31)
        with ExitStack() as made:
            prompt = self._prompt(request)
            made.callback(prompt.close)
            constraint = constraint_of(request, self._vocabulary, self._schemas)
            if constraint is not None:
                made.callback(constraint.close)
            chain = Chain(values, self._vocabulary, seed, self.info.context)
            made.callback(chain.close)
            if notice := unused(values):
                yield notice
            other = self._adapters(request)
            cached = self._sequence.keep(prompt, fresh or other)
            for done in self._sequence.read(prompt, cached, cancelled):
                yield Progress("prompt", done, len(prompt.slots), cached)
            chain.read([slot for slot in prompt.slots if slot >= 0])
            reply = _Reply(self, request, values, chain, constraint, prompt.tokens)
            read = time.monotonic()
            if len(self._sequence.held) == len(prompt.slots):
                yield from reply.write(cancelled)
        now = time.monotonic()
        yield Done(reply.reason, Stats(
            prompt_tokens=prompt.tokens, cached_tokens=cached, completion_tokens=reply.count, seed=seed,
            prompt_ms=(read - started) * 1000, completion_ms=(now - (reply.first or now)) * 1000,
            first_token_ms=((reply.first or now) - started) * 1000, context_limit=self.info.context,
        ))  # fmt: skip

    def _prompt(self, request: GenerationRequest) -> Prompt:
        """The prompt place by place. Raises for one that is empty or too long, and for images without their part."""
        if not self._loaded.generates:
            raise Unsupported("This model makes embeddings, not text.", param="model")
        prompt = self._with_images(request) if request.images else self._plain(request)
        if prompt.tokens >= self.info.context:
            prompt.close()
            raise ContextOverflow(
                f"The prompt has {prompt.tokens} tokens, but the context is {self.info.context}.",
                hint="Shorten it, or load the model with a larger context.",
            )
        return prompt

    def _with_images(self, request: GenerationRequest) -> Prompt:
        if self._images is None:
            raise Unsupported("This model was loaded without an image part.", param="images",
                              hint="Load it with mmproj, the file that belongs to it.")  # fmt: skip
        if not isinstance(request.prompt, str):
            raise BadRequest("Images need a prompt of text.", param="images")
        return self._images.prompt(request.prompt, request.images)

    def _plain(self, request: GenerationRequest) -> Prompt:
        prompt = request.prompt
        tokens = self.tokenize(prompt, True) if isinstance(prompt, str) else list(prompt or ())
        if not tokens:
            raise BadRequest("The prompt is empty.", hint="Send at least one character or token.", param="prompt")
        if not all(0 <= token < self._vocabulary.size for token in tokens):
            raise BadRequest(f"The prompt has a token that is not from 0 to {self._vocabulary.size - 1}.",
                             param="prompt")  # fmt: skip
        return Prompt(tokens, tokens=len(tokens))

    def _adapters(self, request: GenerationRequest) -> bool:
        """Set the adapters of this request. True when they are others than before."""
        scales = self.info.adapters if request.lora is None else request.lora
        for name in scales:
            if name not in self._loaded.adapters:
                known = ", ".join(self._loaded.adapters) or "none"
                raise BadParameter(f"No LoRA adapter {name!r} is loaded.", hint=f"Loaded: {known}.", param="lora")
        return self._loaded.use_adapters(scales)

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        """The chat through the template in the file's header, or a plain one."""
        return self._template.render(messages, variables, continue_last)

    def tokenize(self, text: str, special: bool) -> list[int]:
        return self._vocabulary.tokenize(text, special)

    def detokenize(self, tokens: list[int]) -> str:
        return self._vocabulary.detokenize(tokens)

    @property
    def tasks(self) -> Mapping[str, TaskFunction]:
        """See TaskFunction."""
        return {EMBED.name: lambda request, cancelled: self.embed(request["texts"], cancelled)}

    def embed(self, texts: list[str], cancelled: Callable[[], bool]) -> Embeddings:
        """One vector per text, pooled as the model says, else by the mean. Texts are read one after the other; a
        cancel ends it within a text. Raises Cancelled."""
        context, vectors, total = self._loaded.embedder, [], 0
        if context is None:
            raise Unsupported("This model was loaded without embeddings.", hint="Load it with embeddings on.")
        width = llama_cpp.llama_model_n_embd_out(self._loaded.model)
        for text in texts:
            tokens = self.tokenize(text, True) or [max(0, self._vocabulary.eos)]
            if len(tokens) > self.info.context:
                raise ContextOverflow(f"A text has {len(tokens)} tokens, but the context is {self.info.context}.")
            total += len(tokens)
            with turn(self._embedding, cancelled), stopped_by(context, cancelled):
                vectors.append(_unit(self._embedded(context, tokens, width, cancelled)))
        return Embeddings(tuple(vectors), total)

    def _embedded(
        self, context: Any, tokens: list[int], width: int, cancelled: Callable[[], bool]
    ) -> npt.NDArray[np.float32]:  # fmt: skip
        if cancelled():
            raise Cancelled("The request was cancelled.")
        if memory := llama_cpp.llama_get_memory(context):
            llama_cpp.llama_memory_clear(memory, True)
        given = (llama_cpp.llama_token * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(given, len(tokens))
        compute = llama_cpp.llama_decode if self._loaded.generates else llama_cpp.llama_encode
        pointer = None if compute(context, batch) else llama_cpp.llama_get_embeddings_seq(context, 0)
        if cancelled():
            raise Cancelled("The request was cancelled.")
        if not pointer:
            raise EngineError("llama.cpp gave no embedding for a text.", hint="The worker's log has the details.")
        return np.ctypeslib.as_array(pointer, shape=(width,)).copy()

    def logits(self) -> npt.NDArray[np.float32]:
        """The logits behind the last token. A view: the next step writes over it."""
        return self._sequence.logits(self._vocabulary.size)

    def write(self, token: int) -> None:
        """Compute one token of the reply."""
        self._sequence.write(token)

    def piece(self, token: int) -> bytes:
        return self._vocabulary.piece(token)

    def ends(self, token: int) -> bool:
        """Whether this token ends a reply."""
        return token in self._vocabulary.ends

    def close(self) -> None:
        if self._images is not None:
            self._images.close()
        self._loaded.close()


class _Reply:
    """One reply being written. After `write`: how it ended, its tokens, and when the first one came."""

    def __init__(
        self, engine: LlamaPythonEngine, request: GenerationRequest, values: Values, chain: Chain,
        constraint: Constraint | None, prompt: int,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._top = request.logprobs
        self._chain = chain
        self._constraint = constraint
        room = engine.info.context - prompt
        self._limit = min(int(values["max_tokens"]) or room, room)
        self.reason: FinishReason = "cancelled"
        self.count = 0
        self.first = 0.0

    def write(self, cancelled: Callable[[], bool]) -> Iterator[Text]:
        """Token by token, in whole characters."""
        pieces = TextPieces()
        tokens, logprobs = 0, list[TokenLogprob]()
        while not cancelled():
            logits = self._engine.logits()
            token = self._next(logits)
            if token is None or self._engine.ends(token):
                self.reason = "stop"
                return
            self.count += 1
            tokens += 1
            self.first = self.first or time.monotonic()
            if self._top is not None:
                logprobs.append(logprob_of(logits, token, self._top, self._engine.piece))
            if text := pieces.feed(self._engine.piece(token)):
                yield Text(text, tokens, tuple(logprobs))
                tokens, logprobs = 0, []
            if self.count >= self._limit:
                self.reason = "length"
                return
            self._engine.write(token)

    def _next(self, logits: npt.NDArray[np.float32]) -> int | None:
        """The next token, None where the constraint leaves none. As llama.cpp does, the choice is made first and
        only one that may not follow is made again among those that may: asking for all of them is slow."""
        token = self._chain.choose(logits)
        if self._constraint is not None:
            if not self._constraint.allows(token):
                masked = self._constraint.mask(logits)
                token = self._chain.choose(masked)
                if not math.isfinite(masked[token]) or not self._constraint.allows(token):
                    return None
            self._constraint.accept(token)
        self._chain.accept(token)
        return token


def _values(request: GenerationRequest) -> dict[str, Any]:
    return {name: param.default for name, param in BY_NAME.items()} | dict(request.params)


def _unit(vector: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """The vector at length 1."""
    length = float(np.linalg.norm(vector))
    return tuple((vector / length if length else vector).tolist())

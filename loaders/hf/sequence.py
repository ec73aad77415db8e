"""One reply while it is computed: what it was asked for, how far it is, and the way back to whoever waits for it."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from loaders.hf.cache import Line
from loaders.hf.forward import AnyCache
from loaders.hf.tokenizer import HfTokenizer
from loaders.text.utf8_stream import TextPieces
from loaders.torch_sampling.chain import Sampler
from loaders.torch_sampling.sampled_token import SampledToken
from modules.errors import EnginehouseError
from modules.types import Chunk, Done, Failed, FinishReason, Stats, Text, TokenLogprob

Adapters = tuple[tuple[str, float], ...]
"""LoRA adapters in use with their strength, by name; replies with the same ones are computed together."""


@dataclass(slots=True)
class Part:
    """One prompt of a reply and its cache: the prompt itself, or the negative one of guidance.

    inputs    what the model gets besides tokens (pixels), once, with the beginning of the prompt
    pictured  tokens up to the end of the last picture
    """

    prompt: list[int]
    cache: AnyCache | None = None
    line: Line | None = None
    inputs: Mapping[str, Any] | None = None
    pictured: int = 0
    logits: Tensor | None = None

    @property
    def left(self) -> int:
        """Tokens of the prompt that are not computed yet."""
        return len(self.prompt) - (len(self.line.tokens) if self.line else 0)

    def piece(self, start: int, size: int) -> tuple[int, Mapping[str, Any] | None]:
        """Where the piece that begins there ends, and what goes with it: pictures are read at once with all before
        them, the text behind them like any other."""
        if not self.inputs:
            return min(start + size, len(self.prompt)), None
        told = {name: value for name, value in self.inputs.items() if value.shape[:2] == (1, len(self.prompt))}
        if any(value.dim() > 2 for value in told.values()):  # says more of each token than its kind: it stays whole
            return len(self.prompt), self.inputs
        end = min(max(self.pictured, start + size), len(self.prompt))
        return end, {**self.inputs, **{name: value[:, :end] for name, value in told.items()}}


@dataclass(slots=True, eq=False)
class SequenceState:
    """Written by the model's thread once it has been handed over, until `end`.

    limit     tokens the reply may have
    guidance  how far to move away from the second part's logits; 1 = there is none
    fresh     the prompt is to be computed anew: a seed then gives the same reply again
    images    what tells the pictures of one prompt from those of another; "" without
    """

    words: HfTokenizer
    sampler: Sampler
    parts: list[Part]
    limit: int
    context: int
    cancelled: Callable[[], bool]
    adapters: Adapters = ()
    guidance: float = 1.0
    fresh: bool = False
    images: str = ""
    asked: float = field(default_factory=time.monotonic)
    begun: float = 0.0
    first: float = 0.0
    last: float = 0.0
    cached: int = 0
    count: int = 0
    guessed: int = 0
    following: int = -1
    ended: bool = False
    _out: queue.SimpleQueue[Chunk] = field(default_factory=queue.SimpleQueue)
    _pieces: TextPieces = field(default_factory=TextPieces)
    _held: int = 0
    _marks: list[TokenLogprob] = field(default_factory=list)
    _said: int = 0

    def put(self, chunk: Chunk) -> None:
        """Hand one chunk to whoever waits."""
        self._out.put(chunk)

    def chunks(self) -> Iterator[Chunk]:
        """All chunks as they come, to the last one. On the thread of the one who waits."""
        while True:
            chunk = self._out.get()
            yield chunk
            if isinstance(chunk, (Done, Failed)):
                return

    def took(self, picked: SampledToken) -> bool:
        """One more token of the reply. False when it was the last one."""
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.count += 1
        self.following = picked.token
        self._held += 1
        if picked.logprob is not None:
            self._marks.append(picked.logprob)
        if not picked.end_token and (text := self._pieces.feed(self.words.text_bytes(picked.token))):
            self.put(Text(text, self._held, tuple(self._marks)))
            self._held = 0
            self._marks.clear()
        if picked.ended:
            self.end("stop")
        elif self.count >= self.limit:
            self.end("length")
        return not self.ended

    def end(self, reason: FinishReason) -> None:
        """The reply is over; nothing is put after this."""
        if not self.ended:
            self.ended = True
            self.say()
            self.put(Done(reason, self.stats()))

    def say(self) -> None:
        """Tell what of the parameters does not act, as far as it has not been told."""
        for notice in self.sampler.notices[self._said :]:
            self.put(notice)
        self._said = len(self.sampler.notices)

    def fail(self, error: EnginehouseError) -> None:
        """The reply ends badly."""
        if not self.ended:
            self.ended = True
            self.put(Failed(error.as_dict()))

    def stats(self) -> Stats:
        """The figures so far."""
        begun = self.begun or time.monotonic()
        return Stats(
            prompt_tokens=len(self.parts[0].prompt),
            cached_tokens=self.cached,
            completion_tokens=self.count,
            prompt_ms=max(0.0, self.first - begun) * 1000,
            completion_ms=max(0.0, self.last - self.first) * 1000,
            first_token_ms=max(0.0, self.first - self.asked) * 1000,
            queued_ms=(begun - self.asked) * 1000,
            seed=self.sampler.seed,
            context_limit=self.context,
        )

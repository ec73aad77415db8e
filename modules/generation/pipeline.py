"""The one way from a request to text. Every surface calls this and only serialises differently.

edit_request hooks → model made ready → template rendered in the worker → context ledger →
engine → stream parser → wrap_stream hooks → chunks
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol

from modules.drivers.base import Engine
from modules.errors import (
    BadRequest,
    EngineError,
    EnginehouseError,
    Unsupported,
    from_dict,
)
from modules.generation.checks import check, check_pictures, checked_against, text_of_ids
from modules.generation.context import Fitted, fit
from modules.generation.json_schema import watched
from modules.generation.stream_parser import THINKING_FORMATS, StreamParser, left_open, opened_by_prompt
from modules.grammars.compiler import ConstraintChecks
from modules.grammars.crashes import GrammarCrashes
from modules.messages.images import without_marks
from modules.models.lease import LeaseAcquisition, Leases
from modules.types import (
    Chunk,
    Done,
    Failed,
    GenerationRequest,
    Ledger,
    Notice,
    ParamValue,
    Progress,
    Reasoning,
    Stats,
    Text,
    TokenLogprob,
)

log = logging.getLogger(__name__)


class RequestHooks(Protocol):
    """The part of modules.hooks.manager.Hooks that is needed here."""

    async def edit_request(self, request: GenerationRequest) -> tuple[GenerationRequest, tuple[Notice, ...]]: ...
    def wrap_stream(
        self, request: GenerationRequest, chunks: AsyncGenerator[Chunk, None]
    ) -> AsyncGenerator[Chunk, None]: ...


@dataclass(frozen=True, slots=True)
class Result:
    """A whole reply."""

    text: str
    reasoning: str
    logprobs: tuple[TokenLogprob, ...]
    notices: tuple[Notice, ...]
    ledger: Ledger | None
    done: Done


@dataclass(slots=True, eq=False)
class _Run:
    """What one reply has come to so far; lives as long as its stream. Times are time.monotonic()."""

    began: float
    leased: float = 0.0
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    thought: int = 0
    seed: ParamValue | None = None
    stats: Stats = field(default_factory=Stats)
    progress: Progress | None = None


class Generation:
    """The pipeline. Holds no state of any reply; safe to call from many tasks of one event loop."""

    def __init__(self, models: Leases, hooks: RequestHooks | None = None) -> None:
        self._models = models
        self._hooks = hooks
        self._constraints = ConstraintChecks()
        self._crashes = GrammarCrashes()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """One reply: Progress* and Notice*, a Ledger, (Text|Reasoning)*, then exactly one Done or Failed.

        Further Progress and Notice can come at any place before the end. Raises nothing but CancelledError and
        GeneratorExit. `aclose()` at any moment cancels the engine and gives the model back.
        """
        chunks: AsyncGenerator[Chunk, None] | None = None
        try:
            if self._hooks is not None:
                request, notices = await self._hooks.edit_request(request)
                for notice in notices:
                    yield notice
            chunks = self._reply(request)
            if self._hooks is not None:
                chunks = self._hooks.wrap_stream(request, chunks)
            async for chunk in chunks:
                yield chunk
        except EnginehouseError as error:
            yield Failed(error.as_dict())
        except Exception:
            log.exception("a reply failed by a fault of this program")
            yield Failed(EnginehouseError("The server failed at this reply.", hint="The log says more.").as_dict())
        finally:
            if chunks is not None:
                await chunks.aclose()

    async def run(self, request: GenerationRequest) -> Result:
        """The whole reply at once. Raises the EnginehouseError of a Failed."""
        texts: list[str] = []
        thoughts: list[str] = []
        marks: list[TokenLogprob] = []
        notices: list[Notice] = []
        ledger: Ledger | None = None
        chunks = self.stream(request)
        try:
            async for chunk in chunks:
                if isinstance(chunk, Text):
                    texts.append(chunk.text)
                    marks.extend(chunk.logprobs)
                elif isinstance(chunk, Reasoning):
                    thoughts.append(chunk.text)
                elif isinstance(chunk, Notice):
                    notices.append(chunk)
                elif isinstance(chunk, Ledger):
                    ledger = chunk
                elif isinstance(chunk, Failed):
                    raise from_dict(dict(chunk.error))
                elif isinstance(chunk, Done):
                    return Result("".join(texts), "".join(thoughts), tuple(marks), tuple(notices), ledger, chunk)
        finally:
            await chunks.aclose()
        raise EngineError("The reply ended without saying why.")

    # ── the stages ─────────────────────────────────────────────────────────────────────────────────

    async def _reply(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        check(request)
        run = _Run(began=time.monotonic())
        await check_pictures(request)
        self._crashes.check(request)
        if unchecked := await self._constraints.check(request.grammar, request.json_schema):
            yield unchecked
        context = LeaseAcquisition(self._models, request.model)
        try:
            async for progress in context.progress():
                yield progress
            lease = context.lease
            run.leased = time.monotonic()
            for notice in lease.notices:
                yield notice
            engine: Engine = lease.engine
            for notice in checked_against(request, engine):
                yield notice
            fitted = await fit(request, engine)
            for notice in fitted.notices:
                yield notice
            yield replace(fitted.ledger, model=engine.info.model)
            if request.echo:
                yield Text(await _prompt_text(request, engine), tokens=0)
            reply = self._generate(request, engine, fitted, run)
            if request.json_schema is not None:
                reply = watched(reply)
            self._crashes.begin(run, request)
            async with aclosing(reply) as chunks:
                async for chunk in chunks:
                    if type(chunk) is Failed and self._crashes.to_blame(run, chunk):
                        self._models.excuse_crash(engine.info.model)
                        self._crashes.check(request)  # its sender learns why, and that trying again is no use
                    elif run.first:
                        self._crashes.wrote(run)
                    yield chunk
        finally:
            self._crashes.end(run)
            await context.leave()

    async def _generate(
        self, request: GenerationRequest, engine: Engine, fitted: Fitted, run: _Run
    ) -> AsyncGenerator[Chunk, None]:
        parser = _parser(request, fitted)
        values = {**request.params, "max_tokens": fitted.max_tokens}
        run.seed = values.get("seed")  # a random one is the engine's to draw: a given seed costs the prompt cache
        text = "" if isinstance(fitted.prompt, str) else fitted.text
        ready = replace(
            request, messages=fitted.messages, prompt=fitted.prompt, prompt_text=text, params=values, echo=False,
            images=() if fitted.messages is not None else fitted.images,
            negative_prompt=without_marks(request.negative_prompt),
        )  # fmt: skip
        feed = parser.feed
        source = engine.generate(ready)
        try:
            async for chunk in source:
                if type(chunk) is Text:
                    run.last = time.monotonic()
                    if not run.first:
                        run.first = run.last
                    run.tokens += chunk.tokens
                    for piece in feed(chunk):
                        yield piece
                    if parser.stopped is not None:
                        await source.aclose()
                        yield await _stopped(parser, engine, fitted, run)
                        return
                elif type(chunk) is Done:
                    for piece in parser.flush():
                        yield piece
                    yield Done(chunk.reason, _stats(chunk.stats, parser, engine, run), chunk.stop)
                    return
                elif type(chunk) is Failed:
                    for piece in parser.flush():
                        yield piece
                    yield chunk
                    return
                elif type(chunk) is Stats:
                    run.stats = chunk
                else:
                    if type(chunk) is Progress:
                        run.progress = chunk
                    elif type(chunk) is Reasoning:  # an engine that splits it off by itself
                        run.last = time.monotonic()
                        run.first = run.first or run.last
                        run.tokens += chunk.tokens
                        run.thought += chunk.tokens
                    yield chunk
        finally:
            await source.aclose()
        yield Failed(EngineError("The engine ended the reply without saying why.").as_dict())


async def _prompt_text(request: GenerationRequest, engine: Engine) -> str:
    """What `echo` gives back. Only raw prompts have it."""
    if isinstance(request.prompt, str):
        return request.prompt
    if request.prompt is None:
        raise BadRequest("echo is for raw prompts only.", param="echo")
    return await text_of_ids(engine, request.prompt, "prompt")


def _parser(request: GenerationRequest, fitted: Fitted) -> StreamParser:
    """Chats have their thinking split off; raw prompts come back as they are."""
    logprobs = request.logprobs is not None
    if request.messages is None:
        return StreamParser(request.stop, logprobs=logprobs)
    if request.continue_last:
        last = request.messages[-1].content
        inside = left_open(last)
        formats = THINKING_FORMATS if not last.strip() and inside is None else ()
        return StreamParser(request.stop, formats, inside, logprobs)
    return StreamParser(request.stop, THINKING_FORMATS, opened_by_prompt(fitted.text), logprobs)


def _stats(stats: Stats, parser: StreamParser, engine: Engine, run: _Run) -> Stats:
    """The engine's exact counts with the times a client sees.

    queued_ms: waiting for the model (load, swap) and in the engine's queue. first_token_ms: from the request to the
    first token, all included.
    """
    first = run.first or time.monotonic()
    return replace(
        stats,
        seed=run.seed if stats.seed is None and isinstance(run.seed, int) and run.seed >= 0 else stats.seed,
        reasoning_tokens=min(parser.reasoning_tokens + run.thought, stats.completion_tokens),
        first_token_ms=(first - run.began) * 1000,
        queued_ms=stats.queued_ms + (run.leased - run.began) * 1000,
        context_limit=stats.context_limit or engine.info.context,
    )


async def _stopped(parser: StreamParser, engine: Engine, fitted: Fitted, run: _Run) -> Done:
    """The end by a stop string: the engine was cancelled and gives no figures, so they are put together here."""
    stats, progress = run.stats, run.progress
    if not stats.prompt_tokens:
        if progress is not None and progress.stage == "prompt":
            stats = replace(stats, prompt_tokens=progress.total, cached_tokens=progress.cached)
        else:
            stats = replace(stats, prompt_tokens=await _prompt_tokens(engine, fitted))
    stats = replace(
        stats,
        completion_tokens=run.tokens,
        prompt_ms=stats.prompt_ms or (run.first - run.leased) * 1000,
        completion_ms=(run.last - run.first) * 1000,
    )
    return Done("stop", _stats(stats, parser, engine, run), parser.stopped)


async def _prompt_tokens(engine: Engine, fitted: Fitted) -> int:
    """How many the prompt came to, where the engine was cancelled before it said so. A bound where it cannot count."""
    if fitted.ledger.exact or fitted.images or fitted.messages is not None:
        return fitted.ledger.prompt_tokens
    try:
        return len(await engine.tokenize(fitted.text))
    except Unsupported:
        return fitted.ledger.prompt_tokens

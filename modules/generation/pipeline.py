"""The one way from a request to text. Every surface calls this and only serialises differently.

edit_request hooks → model made ready → template rendered in the worker → context ledger →
engine → stream parser → wrap_stream hooks → chunks
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from modules.drivers.base import Engine
from modules.errors import (
    BadRequest,
    EngineError,
    EnginehouseError,
    Unsupported,
    from_dict,
)
from modules.generation.checks import check, check_pictures, checked_against, text_of_ids, with_fallback_stops
from modules.generation.context import Fitted, fit
from modules.generation.json_schema import watched
from modules.generation.stop_signal import StopSignal
from modules.generation.stopwatch import Stopwatch
from modules.generation.stream_parser import StreamParser
from modules.generation.thinking import with_thinking
from modules.grammars.compiler import ConstraintChecks
from modules.grammars.crashes import GrammarCrashes
from modules.messages.parts import FunctionCall
from modules.messages.reasoning import REASONING_FORMATS, reply_start
from modules.messages.tool_calls import ToolCallAssembler
from modules.models.lease import LeaseAcquisition, Leases
from modules.types import (
    Chunk,
    Done,
    Failed,
    GenerationRequest,
    Ledger,
    Notice,
    Progress,
    Reasoning,
    Stats,
    Text,
    TokenLogprob,
    ToolCall,
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
    tool_calls: tuple[FunctionCall, ...] = ()


class Generation:
    """The pipeline. Holds no state of any reply; safe to call from many tasks of one event loop."""

    def __init__(self, models: Leases, hooks: RequestHooks | None = None) -> None:
        self._models = models
        self._hooks = hooks
        self._constraints = ConstraintChecks()
        self._crashes = GrammarCrashes()

    async def stream(
        self, request: GenerationRequest, stop: StopSignal | None = None
    ) -> AsyncGenerator[Chunk, None]:  # fmt: skip
        """One reply: Progress* and Notice*, a Ledger, (Text|Reasoning)*, then exactly one Done or Failed.

        Further Progress and Notice can come at any place before the end. `stop` ends it with Done("cancelled") and
        the figures so far. Raises nothing but CancelledError and GeneratorExit. `aclose()` at any moment cancels the
        engine and gives the model back.
        """
        chunks: AsyncGenerator[Chunk, None] | None = None
        watch, stop = Stopwatch(), stop or StopSignal()
        ended = False
        stop.watch()
        if stop.requested:
            yield Done("cancelled", watch.so_far())
            return
        try:
            if self._hooks is not None:
                request, notices = await self._hooks.edit_request(request)
                for notice in notices:
                    yield notice
            chunks = self._reply(request, watch, stop)
            if self._hooks is not None:
                chunks = self._hooks.wrap_stream(request, chunks)
            async for chunk in chunks:
                ended = type(chunk) is Done or type(chunk) is Failed
                yield chunk
        except asyncio.CancelledError:
            if ended or not stop.caught():
                raise
            yield Done("cancelled", watch.so_far())
        except EnginehouseError as error:
            yield Failed(error.as_dict(), watch.so_far())
        except Exception:
            log.exception("a reply failed by a fault of this program")
            fault = EnginehouseError("The server failed at this reply.", hint="The log says more.")
            yield Failed(fault.as_dict(), watch.so_far())
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
        calls = ToolCallAssembler()
        chunks = self.stream(request)
        try:
            async for chunk in chunks:
                if isinstance(chunk, Text):
                    texts.append(chunk.text)
                    marks.extend(chunk.logprobs)
                elif isinstance(chunk, Reasoning):
                    thoughts.append(chunk.text)
                elif isinstance(chunk, ToolCall):
                    calls.add(chunk)
                elif isinstance(chunk, Notice):
                    notices.append(chunk)
                elif isinstance(chunk, Ledger):
                    ledger = chunk
                elif isinstance(chunk, Failed):
                    raise from_dict(dict(chunk.error))
                elif isinstance(chunk, Done):
                    return Result("".join(texts), "".join(thoughts), tuple(marks), tuple(notices), ledger, chunk,
                                  calls.calls)  # fmt: skip
        finally:
            await chunks.aclose()
        raise EngineError("The reply ended without saying why.")

    # ── the stages ─────────────────────────────────────────────────────────────────────────────────

    async def _reply(
        self, request: GenerationRequest, watch: Stopwatch, stop: StopSignal
    ) -> AsyncGenerator[Chunk, None]:  # fmt: skip
        check(request)
        await check_pictures(request)
        self._crashes.check(request)
        if unchecked := await self._constraints.check(request.grammar, request.json_schema):
            yield unchecked
        context = LeaseAcquisition(self._models, request.model)
        try:
            async for progress in context.progress():
                yield progress
            lease = context.lease
            watch.leased = time.monotonic()
            for notice in lease.notices:
                yield notice
            engine: Engine = lease.engine
            watch.context = engine.info.context
            request, fixed = with_thinking(request, engine.info)
            for notice in (*fixed, *checked_against(request, engine)):
                yield notice
            fitted = await fit(request, engine)
            for notice in fitted.notices:
                yield notice
            watch.ledger = replace(fitted.ledger, model=engine.info.model)
            yield watch.ledger
            if request.echo:
                yield Text(await _prompt_text(request, engine), tokens=0)
            reply = self._generate(request, engine, fitted, watch, stop)
            if request.json_schema is not None:
                reply = watched(reply)
            self._crashes.begin(watch, request)
            async with aclosing(reply) as chunks:
                async for chunk in chunks:
                    if type(chunk) is Failed and self._crashes.to_blame(watch, chunk):
                        self._models.excuse_crash(engine.info.model)
                        self._crashes.check(request)  # its sender learns why, and that trying again is no use
                    elif watch.first:
                        self._crashes.wrote(watch)
                    yield chunk
        finally:
            self._crashes.end(watch)
            await context.leave()

    async def _generate(
        self, request: GenerationRequest, engine: Engine, fitted: Fitted, watch: Stopwatch, stop: StopSignal
    ) -> AsyncGenerator[Chunk, None]:
        request = with_fallback_stops(request, engine.info)
        parser = watch.parser = _parser(request, fitted)
        values = {**request.params, "max_tokens": fitted.max_tokens}
        watch.seed = values.get("seed")  # a random one is the engine's to draw: a given seed costs the prompt cache
        text = "" if isinstance(fitted.prompt, str) else fitted.text
        ready = replace(
            request, messages=fitted.messages, prompt=fitted.prompt, prompt_text=text, params=values, echo=False,
            keep_marks=request.messages is not None,
            images=() if fitted.messages is not None else fitted.images, image_places=fitted.image_places,
        )  # fmt: skip
        feed = parser.feed
        source = engine.generate(ready)
        try:
            async for chunk in source:
                if type(chunk) is Text:
                    watch.count(chunk.tokens)
                    for piece in feed(chunk):
                        yield piece
                    if parser.stopped is not None:
                        await source.aclose()
                        yield await _stopped(parser, engine, fitted, watch)
                        return
                elif type(chunk) is Done:
                    for piece in parser.flush():
                        yield piece
                    yield Done(chunk.reason, watch.final(chunk.stats), chunk.stop)
                    return
                elif type(chunk) is Failed:
                    for piece in parser.flush():
                        yield piece
                    yield replace(chunk, stats=watch.so_far())
                    return
                elif type(chunk) is Stats:
                    watch.stats = chunk
                else:
                    if type(chunk) is Progress:
                        watch.progress = chunk
                    elif type(chunk) is ToolCall:
                        watch.count(chunk.tokens)
                    elif type(chunk) is Reasoning:  # an engine that splits it off by itself
                        watch.count(chunk.tokens)
                        watch.thought += chunk.tokens
                    yield chunk
        except asyncio.CancelledError:
            if not stop.caught():
                raise
            for piece in parser.flush():
                yield piece
            yield Done("cancelled", watch.so_far())
            return
        finally:
            await source.aclose()
        yield Failed(EngineError("The engine ended the reply without saying why.").as_dict(), watch.so_far())


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
    if not request.continue_last:
        return StreamParser(request.stop, REASONING_FORMATS, reply_start(fitted.text), logprobs)
    last = request.messages[-1]
    written = last.text if last.text.strip() else last.reasoning
    before = fitted.text[: fitted.text.rfind(written.strip())] if written.strip() in fitted.text else ""
    parser = StreamParser(request.stop, REASONING_FORMATS, reply_start(before), logprobs)
    parser.skip(written)
    return parser


async def _stopped(parser: StreamParser, engine: Engine, fitted: Fitted, watch: Stopwatch) -> Done:
    """The end by a stop string: the engine was cancelled and gives no figures, so they are put together here."""
    counted = 0 if watch.prompt_tokens else await _prompt_tokens(engine, fitted)
    return Done("stop", watch.so_far(counted), parser.stopped)


async def _prompt_tokens(engine: Engine, fitted: Fitted) -> int:
    """How many the prompt came to, where the engine was cancelled before it said so. A bound where it cannot count."""
    if fitted.ledger.exact or fitted.images or fitted.messages is not None:
        return fitted.ledger.prompt_tokens
    try:
        return len(await engine.tokenize(fitted.text))
    except Unsupported:
        return fitted.ledger.prompt_tokens

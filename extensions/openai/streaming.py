"""A streamed answer: one server-sent event per chunk, with everything that does not change made once."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from modules.extension_api import (
    Chunk,
    Done,
    Failed,
    Generation,
    GenerationRequest,
    Ledger,
    Notice,
    Progress,
    Reasoning,
    Text,
    ToolCall,
    chunks,
    encoded,
    from_dict,
    reply_facts,
)

from .extras import finish_reason, usage
from .logprobs import CompletionLogprobs, chat_logprobs
from .tools import delta_of

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Shape:
    """How the answers of one endpoint look. `open` and `close` stand around the JSON string of a text in an event."""

    whole: str
    object: str
    open: bytes
    close: bytes
    reasoning_open: bytes
    first: bytes = b""


CHAT = Shape(
    "chat.completion",
    "chat.completion.chunk",
    b',"delta":{"content":',
    b'},"logprobs":null,"finish_reason":null}]',
    b',"delta":{"reasoning_content":',
    b',"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]',
)
COMPLETION = Shape(
    "text_completion", "text_completion", b',"text":', b',"logprobs":null,"finish_reason":null}]', b',"text":',
)  # fmt: skip


@dataclass(slots=True)
class _Choice:
    """One reply of the answer."""

    index: int
    head: bytes = b""
    begun: bool = False
    ledger: Ledger | None = None
    done: Done | None = None
    marks: CompletionLogprobs = field(default_factory=CompletionLogprobs)


class Streaming:
    """The events of one answer, and what to say in a keep-alive comment meanwhile."""

    def __init__(
        self, generation: Generation, requests: Sequence[GenerationRequest], shape: Shape, ident: str,
        n: int, with_usage: bool, notices: Sequence[Notice],
    ) -> None:  # fmt: skip
        self._generation = generation
        self._requests = requests
        self._shape = shape
        self._ident = ident
        self._n = n
        self._with_usage = with_usage
        self._notices = list(notices)
        self._choices = [_Choice(index) for index in range(len(requests))]
        self._slowest = self._choices[0]
        self._base: dict[str, Any] = {}
        self._end = b',"usage":null}\n\n' if with_usage else b"}\n\n"
        self._close = shape.close + self._end
        self._progress: Progress | None = None

    def comment(self) -> str:
        """What is being waited for, in a word."""
        progress = self._progress
        if progress is None or not progress.total:
            return "keep-alive"
        return f"{progress.stage} {progress.done}/{progress.total}"

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Complete events as bytes. Raises the error of a reply that failed."""
        frame, choices = self._frame, self._choices
        if len(choices) == 1:
            only = choices[0]
            async with aclosing(self._generation.stream(self._requests[0])) as stream:
                async for chunk in stream:
                    event = frame(only, chunk)
                    if event:
                        yield event
        else:
            async with aclosing(chunks(self._generation, self._requests)) as numbered:
                async for number, chunk in numbered:
                    event = frame(choices[number], chunk)
                    if event:
                        yield event
        yield self._last()

    def _frame(self, choice: _Choice, chunk: Chunk) -> bytes:
        kind = type(chunk)
        if kind is Text:
            return self._text(choice, chunk)  # type: ignore[arg-type]
        if isinstance(chunk, Reasoning):
            event = choice.head + self._shape.reasoning_open + encoded(chunk.text) + self._close
            return event if choice.begun else self._first(choice) + event
        if isinstance(chunk, ToolCall):
            body = {"delta": {"tool_calls": [delta_of(chunk)]}, "logprobs": None, "finish_reason": None}
            event = choice.head + b"," + encoded(body)[1:] + b"]" + self._end
            return event if choice.begun else self._first(choice) + event
        if isinstance(chunk, Done):
            choice.done, self._slowest = chunk, choice
            return b"" if self._ending() else self._finish(choice) + self._end
        if isinstance(chunk, Failed):
            raise from_dict(dict(chunk.error))
        if isinstance(chunk, Ledger):
            self._start(choice, chunk)
        elif isinstance(chunk, Notice):
            self._notices.append(chunk)
        elif isinstance(chunk, Progress):
            self._progress = chunk
        return b""

    def _text(self, choice: _Choice, chunk: Text) -> bytes:
        if chunk.logprobs:
            event = self._with_logprobs(choice, chunk)
        else:
            event = choice.head + self._shape.open + encoded(chunk.text) + self._close
            if self._shape is COMPLETION:
                choice.marks.of(chunk.text, ())
        return event if choice.begun else self._first(choice) + event

    def _with_logprobs(self, choice: _Choice, chunk: Text) -> bytes:
        if self._shape is CHAT:
            body: dict[str, Any] = {"delta": {"content": chunk.text}, "logprobs": chat_logprobs(chunk.logprobs)}
        else:
            body = {"text": chunk.text, "logprobs": choice.marks.of(chunk.text, chunk.logprobs)}
        return choice.head + b"," + encoded({**body, "finish_reason": None})[1:] + b"]" + self._end

    def _start(self, choice: _Choice, ledger: Ledger) -> None:
        """The model is known now, so what stands in front of every event can be made."""
        choice.ledger = ledger
        self._base = self._base or {
            "id": self._ident, "object": self._shape.object, "created": int(time.time()), "model": ledger.model,
            "system_fingerprint": None,
        }  # fmt: skip
        choice.head = b"data: " + encoded(self._base)[:-1] + b',"choices":[{"index":%d' % choice.index

    def _first(self, choice: _Choice) -> bytes:
        choice.begun = True
        return choice.head + self._shape.first + self._end if self._shape.first else b""

    def _finish(self, choice: _Choice) -> bytes:
        """The event that ends one choice, up to the place where usage goes."""
        assert choice.done is not None
        first = b"" if choice.begun else self._first(choice)
        body: dict[str, Any] = {"delta": {}} if self._shape is CHAT else {"text": ""}
        body |= {"logprobs": None, "finish_reason": finish_reason(choice.done)}
        return first + choice.head + b"," + encoded(body)[1:] + b"]"

    def _ending(self) -> bool:
        """Whether every reply is done: the last one's end is written together with the counts."""
        return all(choice.done is not None for choice in self._choices)

    def _last(self) -> bytes:
        last = self._slowest
        ended = [(choice.ledger, choice.done) for choice in self._choices if choice.done is not None]
        more = b',"enginehouse":' + encoded(reply_facts(ended, self._notices))
        if not self._with_usage:
            return self._finish(last) + more + b"}\n\n" + DONE
        counts = encoded({**self._base, "choices": [], "usage": usage(ended, self._n)})[:-1]
        return self._finish(last) + self._end + b"data: " + counts + more + b"}\n\n" + DONE

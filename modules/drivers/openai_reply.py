"""Reads a streamed reply of a server that speaks OpenAI's protocol: its events, and the chunks in them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from modules.drivers.http_client import Connection
from modules.drivers.openai_errors import cleaned, reported, shown
from modules.errors import EngineError
from modules.types import (
    Chunk,
    Done,
    Endpoint,
    Failed,
    FinishReason,
    GenerationRequest,
    Notice,
    Reasoning,
    Stats,
    Text,
    TokenLogprob,
    ToolCall,
    TopLogprob,
)  # fmt: skip

LONGEST_EVENT = 16 * 1024 * 1024
_REASONS: Mapping[str, FinishReason] = {
    "length": "length", "max_tokens": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
}  # fmt: skip
_NO_COUNTS = Notice("usage_missing", "The server tells no token counts, so the pieces it sent were counted.")
_INCOMPLETE = Notice("logprobs_incomplete", "The server gave probabilities of tokens that are only the beginning of a "
                     "character; those are left out.", "logprobs")  # fmt: skip
_FILTERED = Notice("content_filter", "The server's own filter cut this reply.")


async def sse(connection: Connection) -> AsyncIterator[list[bytes]]:
    """The events that arrived together, each without its blank line; an empty list = only a part of one arrived.

    Raises ConnectionLost, and ValueError for an event beyond all measure.
    """
    rest = b""
    while data := await connection.piece():
        data = rest + data
        if b"\r" in data:  # JSON escapes them, so they are line ends
            late = data.endswith(b"\r")
            data = (data[:-1] if late else data).replace(b"\r\n", b"\n") + (b"\r" if late else b"")
        *whole, rest = data.split(b"\n\n")
        if len(rest) > LONGEST_EVENT:
            raise ValueError("an event without an end")
        yield whole
    if rest.strip():
        yield [rest]


def data_of(event: bytes) -> bytes:
    """The data of an event: b"" for a comment or an event without any. Its lines may come in any order."""
    if event.startswith(b"data: ") and b"\n" not in event:  # the hot path
        return event[6:]
    lines = (line.strip() for line in event.split(b"\n"))
    return b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))


class Reply:
    """Turns the events of one reply into chunks. `ended` is set once it ended well; `spoke` once there was text."""

    def __init__(self, request: GenerationRequest, seed: int, context: int, endpoint: Endpoint) -> None:
        self._chat = request.messages is not None
        self._top = request.logprobs
        self._seed = seed
        self._context = context
        self._endpoint = endpoint
        self._where = shown(endpoint.url)
        self._started = time.monotonic()
        self._first = 0.0
        self._last = 0.0
        self._pieces = 0
        self._usage: Mapping[str, Any] = {}
        self._reason = ""
        self._over = False
        self._incomplete = False
        self.understood = False

    @property
    def spoke(self) -> bool:
        """Whether any of the reply has arrived."""
        return self._pieces > 0

    def read(self, batch: list[bytes]) -> list[Chunk]:
        """The chunks of events that arrived together, neighbouring text joined; the last may be Failed.

        Raises ValueError, TypeError or KeyError for what is no such event.
        """
        out: list[Chunk] = []
        for event in batch:
            raw = data_of(event)
            if not raw:
                continue
            if raw == b"[DONE]":
                self._over = self.understood = True
                break
            data = orjson.loads(raw)
            if (error := data.get("error")) is not None and error != "":
                out.append(Failed(cleaned(reported(error, self._where), self._endpoint).as_dict()))
                break
            if usage := data.get("usage"):
                self._usage = usage
            for choice in data.get("choices") or ():
                self.understood = True
                self._choice(choice, out)
            self.understood = self.understood or "choices" in data
        return out

    def _choice(self, choice: Mapping[str, Any], out: list[Chunk]) -> None:
        if choice.get("index"):
            return  # only one is asked for
        thought, called = "", False
        if self._chat:
            delta = choice.get("delta") or {}
            text, inside = _said(delta.get("content"))
            text = text or delta.get("refusal") or ""
            if thought := delta.get("reasoning_content") or delta.get("reasoning") or inside:
                self._arrived()
                if out and type(out[-1]) is Reasoning:
                    thought, tokens = out[-1].text + thought, out.pop().tokens + 1  # type: ignore[union-attr]
                    out.append(Reasoning(thought, tokens))
                else:
                    out.append(Reasoning(thought))
            for place, call in enumerate(delta.get("tool_calls") or ()):
                self._arrived()
                called = True
                out.append(_tool_call(call, place))
        else:
            text = choice.get("text") or ""
        if text:
            self._arrived()
            self._text(text, choice, out)
        elif choice.get("logprobs") and not thought and not called and not choice.get("finish_reason"):
            # Half a character: its probabilities belong to no text. The end and thinking have none of their own either.
            if self._top is not None and not self._incomplete:
                out.append(_INCOMPLETE)
            self._incomplete = True
        if reason := choice.get("finish_reason"):
            self._reason = reason
            if reason == "content_filter":
                out.append(_FILTERED)
            elif reason in ("abort", "error"):
                said = f"The server at {self._where} broke the reply off."
                out.append(Failed(EngineError(said, hint="Try again.", code="engine_aborted").as_dict()))

    def _text(self, text: str, choice: Mapping[str, Any], out: list[Chunk]) -> None:
        marks: tuple[TokenLogprob, ...] = ()
        if self._top is not None and (found := choice.get("logprobs")):
            marks = logprobs_of(found, self._top)
        tokens = len(marks) or 1
        if out and type(out[-1]) is Text:
            before = out.pop()
            if type(before) is Text:
                text, tokens, marks = before.text + text, before.tokens + tokens, before.logprobs + marks
        out.append(Text(text, tokens, marks))

    def _arrived(self) -> None:
        self._pieces += 1
        self._last = time.monotonic()
        self._first = self._first or self._last

    @property
    def complete(self) -> bool:
        """Whether the server said that this was all."""
        return self._over or bool(self._reason)

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self._over

    def end(self) -> list[Chunk]:
        """The last chunks of a complete reply."""
        usage, now = self._usage, time.monotonic()
        details = usage.get("prompt_tokens_details") or {}
        thinking = usage.get("completion_tokens_details") or {}
        first = self._first or now
        stats = Stats(
            prompt_tokens=_count(usage.get("prompt_tokens")), cached_tokens=_count(details.get("cached_tokens")),
            completion_tokens=_count(usage.get("completion_tokens", self._pieces)),
            reasoning_tokens=_count(thinking.get("reasoning_tokens")),
            prompt_ms=(first - self._started) * 1000, completion_ms=((self._last or first) - first) * 1000,
            first_token_ms=(first - self._started) * 1000, seed=self._seed, context_limit=self._context,
        )  # fmt: skip
        done = Done(_REASONS.get(self._reason, "stop"), stats)
        return [done] if usage else [_NO_COUNTS, done]


def _tool_call(delta: Mapping[str, Any], place: int) -> ToolCall:
    """A piece of a tool call. Some servers leave `index` out of calls that they send whole."""
    function = delta.get("function") or {}
    index = delta.get("index")
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):  # an object, where a server does not follow the protocol
        arguments = orjson.dumps(arguments).decode()
    return ToolCall(
        index if isinstance(index, int) else place,
        str(delta.get("id") or ""),
        str(function.get("name") or ""),
        arguments,
    )


def _said(content: Any) -> tuple[str, str]:
    """(text, thinking) of a delta's content: a text, or parts as Mistral's thinking models send them.

    Source: https://docs.mistral.ai/capabilities/reasoning (streamed chunks).
    """
    if not isinstance(content, list):
        return content or "", ""
    texts, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif part.get("type") == "thinking":
            thoughts.append(_said(part.get("thinking"))[0])
        else:
            texts.append(part.get("text") or "")
    return "".join(texts), "".join(thoughts)


def logprobs_of(found: Mapping[str, Any], top: int) -> tuple[TokenLogprob, ...]:
    """The probabilities of one piece: a chat's shape, or the older one of raw prompts."""
    if (content := found.get("content")) is not None:
        return tuple(
            TokenLogprob(_candidate(one), tuple(_candidate(rival) for rival in (one.get("top_logprobs") or ())[:top]))
            for one in content
        )
    out = []
    rivals = found.get("top_logprobs") or ()
    for place, (token, logprob) in enumerate(zip(found["tokens"], found["token_logprobs"], strict=True)):
        if logprob is None:
            continue
        near = rivals[place] if place < len(rivals) and rivals[place] else {}
        best = sorted(near.items(), key=lambda pair: -pair[1])[:top]
        out.append(TokenLogprob(_named(token, logprob), tuple(_named(*pair) for pair in best)))
    return tuple(out)


def _candidate(value: Mapping[str, Any]) -> TopLogprob:
    token, raw = str(value["token"]), value.get("bytes")
    number = value.get("id")
    exact = tuple(raw) if raw is not None else tuple(token.encode("utf-8", "replace"))
    return TopLogprob(token, float(value["logprob"]), exact, number if isinstance(number, int) else None)


def _named(token: str, logprob: float) -> TopLogprob:
    return TopLogprob(token, logprob, tuple(token.encode("utf-8", "replace")))


def _count(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) else 0

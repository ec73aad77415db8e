"""One /completion stream of llama-server as chunks, and what it tells of the slot it ran in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from modules.drivers.llama_errors import reported
from modules.drivers.slots import Place, Slots
from modules.types import (
    Chunk,
    Done,
    Failed,
    FinishReason,
    GenerationRequest,
    Notice,
    Progress,
    Stats,
    Text,
    TokenLogprob,
    TopLogprob,
)  # fmt: skip

_INCOMPLETE = Notice("logprobs_incomplete", "The engine gives no probabilities for tokens that are only the beginning "
                     "of a character, so some tokens of this reply have none.", "logprobs")  # fmt: skip


@dataclass(slots=True)
class _Piece:
    """Text with the tokens it stands for and their probabilities."""

    text: str = ""
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()

    def add(self, other: _Piece) -> None:
        """Append."""
        self.text += other.text
        self.tokens += other.tokens
        self.logprobs += other.logprobs


_NOTHING = _Piece()


class Reader:
    """Turns the events of one /completion stream into chunks, and tells `slots` what becomes of the request."""

    def __init__(self, request: GenerationRequest, context: int, slots: Slots | None) -> None:
        self._request = request
        self._top = request.logprobs
        self._marks: frozenset[str] = frozenset()
        self._held = _NOTHING  # a mark that may turn out to be the token that ended the reply, which is no text
        self._started = time.monotonic()
        self.seed = -1
        self._context = context
        self._begun = 0.0
        self._first = 0.0
        self._tokens = 0
        self._incomplete = False
        self._slots = slots
        self.place: Place | None = None
        self._texts: list[str] = []
        self._end: Literal["cancelled", "done", "failed"] = "cancelled"

    def sent(self, body: dict[str, Any]) -> None:
        """The request goes out now: its slot is chosen."""
        self.seed = int(body["seed"])
        self._marks = frozenset(body.get("preserved_tokens", ()))
        if self._slots is not None:
            mix = tuple(adapter["scale"] for adapter in body.get("lora", ()))
            self.place = self._slots.ask(self._request.prompt_text or self._request.prompt or "", mix)
            if self.place.wanted is not None:
                body["id_slot"] = self.place.wanted

    def refused(self) -> None:
        """The engine did not take the request."""
        self._end = "failed"

    def ended(self) -> None:
        """Nothing more is read, for whatever reason."""
        if self._slots is not None and self.place is not None:
            self._slots.ended(self.place, "".join(self._texts), self._end == "cancelled", self._end != "failed")

    def read(self, batch: list[bytes]) -> list[Chunk]:
        """The chunks of events that arrived together, text joined; the last may be Done or Failed."""
        out: list[Chunk] = []
        text = _Piece()
        end: Done | Failed | None = None
        for event in batch:
            if event.startswith(b"data: "):
                data = orjson.loads(event[6:])
            elif event.startswith(b"error: "):
                data = {"error": orjson.loads(event[7:])}
            else:
                continue  # a comment that keeps the connection alive
            if "error" in data:
                end = self._failed(data["error"])
                break
            if (progress := data.get("prompt_progress")) is not None:
                self._begun = self._begun or time.monotonic()
                out.append(Progress("prompt", progress["processed"], progress["total"], progress["cache"]))
                continue
            if content := data["content"]:
                self._first = self._first or time.monotonic()
                text.add(self._held)
                self._held = self._piece(data, content, out)
                if content not in self._marks:
                    text.add(self._held)
                    self._held = _NOTHING
            if data["stop"]:
                if data.get("stop_type") != "eos":
                    text.add(self._held)
                end = self._done(data)
                break
        if text.text:
            self._texts.append(text.text)
            out.append(Text(text.text, text.tokens, text.logprobs))
        if end is not None:
            out.append(end)
        return out

    def _piece(self, data: Mapping[str, Any], content: str, out: list[Chunk]) -> _Piece:
        """What one event brings; a notice about its probabilities goes to `out`."""
        step = data["tokens_predicted"] - self._tokens
        self._tokens = data["tokens_predicted"]
        if self._top is None:
            return _Piece(content, step)
        found = data.get("completion_probabilities", ())
        if len(found) < step and not self._incomplete and not content.isascii():
            # llama-server drops them while it waits for the rest of a character, for good: a stream's
            # last event has none either (tools/server/server-context.cpp, process_token).
            self._incomplete = True
            out.append(_INCOMPLETE)
        return _Piece(content, step, tuple(map(self._logprob, found)))

    def _failed(self, error: Any) -> Failed:
        self._end = "failed"
        return Failed(reported(error if isinstance(error, dict) else {"message": str(error)}, 500).as_dict())

    def _logprob(self, value: Mapping[str, Any]) -> TokenLogprob:
        return TokenLogprob(_candidate(value), tuple(_candidate(top) for top in value["top_logprobs"][: self._top]))

    def _done(self, data: Mapping[str, Any]) -> Done:
        self._end = "done"
        timings = data.get("timings", {})
        now = time.monotonic()
        reason: FinishReason = "length" if data.get("stop_type") == "limit" else "stop"
        return Done(reason, Stats(
            prompt_tokens=data["tokens_evaluated"], cached_tokens=timings.get("cache_n", 0),
            completion_tokens=data["tokens_predicted"], prompt_ms=timings.get("prompt_ms", 0.0),
            completion_ms=timings.get("predicted_ms", 0.0),
            first_token_ms=((self._first or now) - self._started) * 1000,
            queued_ms=max(0.0, ((self._begun or self._started) - self._started) * 1000),
            seed=self.seed, context_limit=self._context,
        ))  # fmt: skip


def _candidate(value: Mapping[str, Any]) -> TopLogprob:
    return TopLogprob(value["token"], value["logprob"], tuple(value["bytes"]), value["id"])

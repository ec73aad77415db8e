"""The words between server and worker: one JSON object a line, over the worker's stdin and stdout.

Server to worker: `{"op": "load"}` once, then `generate`, `cancel`, `call`. The end of stdin ends the worker.
Worker to server: `progress`, `ready`, `failed` about the load (key "event"), and for a request (key "id") its
chunks, or the `result` or `error` of a call. A line without a newline is not a line: a reader keeps the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from loaders.base import LoadRequest, NamedFile
from modules.messages.parts import FunctionCall, part_from
from modules.types import (
    Chunk,
    Done,
    Endpoint,
    EngineInfo,
    Failed,
    GenerationRequest,
    Ledger,
    LedgerSource,
    Message,
    Notice,
    Progress,
    Reasoning,
    Stats,
    TemplateTraits,
    Text,
    ThinkingSwitch,
    TokenLogprob,
    ToolCall,
    TopLogprob,
)  # fmt: skip

Line = dict[str, Any]

_KINDS: Mapping[type, str] = {
    Text: "text", Reasoning: "reasoning", Progress: "prompt", Notice: "notice", Ledger: "ledger", Stats: "stats",
    Done: "done", Failed: "failed", ToolCall: "tool_call",
}  # fmt: skip


def encode(line: Mapping[str, Any]) -> bytes:
    """One line with its newline; dataclasses inside become objects."""
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot cross to another process")


def decode(line: bytes) -> Line:
    """One line back. Raises ValueError when it is not one of ours."""
    value = orjson.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


@dataclass(slots=True)
class Lines:
    """Cuts a byte stream into lines; what has no newline yet waits, in pieces: a line of vectors has many megabytes."""

    _rest: list[bytes] = field(default_factory=list)

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete with `data`, without their newlines."""
        if b"\n" not in data:
            self._rest.append(data)
            return []
        *lines, rest = b"".join((*self._rest, data)).split(b"\n")
        self._rest = [rest] if rest else []
        return lines


# ── requests ────────────────────────────────────────────────────────────────────────────────────────


def load_line(request: LoadRequest, function: str) -> bytes:
    """Asks the worker to load; `function` is the "module:name" of the loader's load function."""
    return encode({"op": "load", "request": request, "function": function})


def generate_line(key: int, request: GenerationRequest) -> bytes:
    return encode({"op": "generate", "id": key, "request": replace(request, prompt_text="")})


def cancel_line(key: int) -> bytes:
    return encode({"op": "cancel", "id": key})


def call_line(key: int, method: str, arguments: Mapping[str, Any]) -> bytes:
    return encode({"op": "call", "id": key, "method": method, "arguments": arguments})


def read_load(line: Line) -> tuple[LoadRequest, str]:
    values = dict(line["request"])
    named = values.get("files") or {}
    values["files"] = {name: tuple(NamedFile(**file) for file in files) for name, files in named.items()}
    return LoadRequest(**values), str(line["function"])


def read_request(line: Line) -> GenerationRequest:
    """The request of a `generate` line."""
    values = dict(line["request"])
    prompt = values.get("prompt")
    if isinstance(prompt, list):
        values["prompt"] = tuple(prompt)
    if values.get("messages") is not None:
        values["messages"] = read_messages(values["messages"])
    values["stop"] = tuple(values.get("stop", ()))
    for name in ("images", "image_places", "tools"):
        values[name] = tuple(values.get(name, ()))
    return GenerationRequest(**values)


def read_messages(values: list[dict[str, Any]]) -> tuple[Message, ...]:
    """Messages that crossed as objects. Raises ValueError for an unknown part."""
    return tuple(
        Message(**{
            **value,
            "content": [part_from(part) for part in value["content"]],
            "tool_calls": [FunctionCall(**call) for call in value.get("tool_calls", ())],
        })
        for value in values
    )  # fmt: skip


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


def chunk_line(key: int, chunk: Chunk) -> bytes:
    """One chunk of the request `key`."""
    if type(chunk) is Text and not chunk.logprobs:  # the hot path
        return orjson.dumps({"id": key, "kind": "text", "text": chunk.text, "tokens": chunk.tokens}) + b"\n"
    return encode({"id": key, "kind": _KINDS[type(chunk)], "value": chunk})


def read_chunk(line: Line) -> Chunk:
    """The chunk of a line with "kind". Raises ValueError for a kind there is not."""
    kind = line["kind"]
    if kind == "text" and "value" not in line:
        return Text(line["text"], line["tokens"])
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError(f"unknown kind of chunk: {kind!r}")
    return reader(line["value"])


def _text(value: dict[str, Any]) -> Text:
    return Text(value["text"], value["tokens"], tuple(_logprob(item) for item in value["logprobs"]))


def _logprob(value: dict[str, Any]) -> TokenLogprob:
    return TokenLogprob(_top(value["chosen"]), tuple(_top(item) for item in value["top"]))


def _top(value: dict[str, Any]) -> TopLogprob:
    return TopLogprob(value["token"], value["logprob"], tuple(value["bytes"]), value["token_id"])


def _done(value: dict[str, Any]) -> Done:
    return Done(value["reason"], Stats(**value["stats"]), value["stop"])


def _ledger(value: dict[str, Any]) -> Ledger:
    return Ledger(**{**value, "sources": tuple(LedgerSource(**row) for row in value["sources"])})


_READERS: Mapping[str, Callable[[dict[str, Any]], Chunk]] = {
    "text": _text,
    "reasoning": lambda value: Reasoning(**value),
    "tool_call": lambda value: ToolCall(**value),
    "prompt": lambda value: Progress(**value),
    "notice": lambda value: Notice(**value),
    "ledger": _ledger,
    "stats": lambda value: Stats(**value),
    "done": _done,
    "failed": lambda value: Failed(value["error"], Stats(**value.get("stats", {}))),
}


def read_info(value: dict[str, Any]) -> EngineInfo:
    """An EngineInfo that crossed as an object."""
    endpoint = value.get("endpoint")
    features = value.get("features")
    return EngineInfo(**{
        **value,
        "endpoint": None if endpoint is None else _endpoint(endpoint),
        "features": None if features is None else tuple(features),
        "template": _template(value.get("template") or {}),
    })  # fmt: skip


def _template(value: dict[str, Any]) -> TemplateTraits:
    switch = value.get("thinking")
    return TemplateTraits(**{**value, "thinking": None if switch is None else ThinkingSwitch(**switch)})


def _endpoint(value: dict[str, Any]) -> Endpoint:
    return Endpoint(**value)

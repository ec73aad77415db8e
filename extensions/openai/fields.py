"""The fields both kinds of completion share, and what becomes of those that have no effect here."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.extension_api import (
    CANONICAL,
    BadParameter,
    BadRequest,
    ExtensionContext,
    Notice,
    check_values,
)

from .body import Body, wrong
from .lora import read_lora

MOST_CHOICES = 16
SEEDS = 2**32 - 1  # 0 to SEEDS - 1; llama.cpp takes SEEDS itself for "random"
MOST_STOPS = 16
LONGEST_STOP = 1000
MOST_NAMED = 20  # unknown fields; looking for similar names takes time

# Accepted and without effect here, as their meaning allows: bookkeeping of the caller, or of OpenAI's service.
SILENT = frozenset({
    "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "parallel_tool_calls", "tool_choice", "function_call",
})  # fmt: skip
# Accepted, but the caller may have expected something of it: said in a Notice.
WITHOUT_EFFECT = {
    "store": "Nothing is stored for later retrieval here.",
    "verbosity": "Models here have no such control; say it in the prompt.",
    "prediction": "Predicted output is not used here.",
    "modalities": "Replies here are text.",
}
NOT_OFFERED = {
    "tools": "Tool calls are not offered yet.",
    "functions": "Function calls are not offered yet.",
    "audio": "Audio replies are not offered.",
    "web_search_options": "Web search is not offered over this API.",
}
LENGTHS = frozenset(name for name, canonical in CANONICAL.items() if canonical == "max_tokens")


@dataclass(frozen=True, slots=True)
class Common:
    """What both kinds of request come to. `model` None = the one that is loaded; `seed` None = random."""

    model: str | None
    params: Mapping[str, Any]
    stop: tuple[str, ...]
    n: int
    stream: bool
    usage: bool
    grammar: str
    schema: Mapping[str, Any] | None
    overflow: str
    lora: Mapping[str, float] | None
    negative_prompt: str
    notices: tuple[Notice, ...]


async def read_common(body: Body, context: ExtensionContext) -> Common:
    """Take every shared field out of `body`. Raises BadParameter or BadRequest; NotFound for a preset."""
    for name, why in NOT_OFFERED.items():
        value = body.take(name)
        if value:
            raise BadParameter(f"{name} cannot be used: {why}", hint="Leave it out.", param=name, code="unsupported")
    notices = [
        Notice("without_effect", f"{name} has no effect: {why}", param=name)
        for name, why in WITHOUT_EFFECT.items()
        if body.has(name) and body.take(name) not in (False, ["text"])
    ]
    for name in SILENT:
        body.take(name)
    options = body.object("stream_options")
    usage = options.get("include_usage", False)
    if not isinstance(usage, bool):
        raise wrong("stream_options.include_usage", usage, "true or false")
    params, more = await _params(body, context)
    return Common(
        model=model_of(body, context),
        params=params,
        stop=_stop(body),
        n=body.integer("n", 1, 1, MOST_CHOICES),
        stream=body.flag("stream"),
        usage=usage,
        grammar=body.text("grammar") or body.text("grammar_string"),
        schema=_schema(body),
        overflow=body.choice("context_overflow", ("error", "drop_oldest"), "error"),
        lora=read_lora(body),
        negative_prompt=body.text("negative_prompt"),
        notices=(*notices, *more),
    )


def unknown_fields(body: Body, known: tuple[str, ...]) -> tuple[Notice, ...]:
    """A Notice for each field nobody asked for, with the name that may have been meant."""
    names = [*known, *CANONICAL]
    found = []
    unknown = body.rest()
    for name in unknown[:MOST_NAMED]:
        near = difflib.get_close_matches(name[:80], names, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        found.append(Notice("unknown_field", f"{name[:80]} is not known here and was ignored.{hint}", param=name[:80]))
    if len(unknown) > MOST_NAMED:
        found.append(Notice("unknown_field", f"{len(unknown) - MOST_NAMED} more fields are not known here."))
    return tuple(found)


def model_of(body: Body, context: ExtensionContext) -> str | None:
    """The catalogue's name; None for the model that is loaded."""
    name = body.text("model").strip()
    aliases = context.options.get("model_aliases") or {}
    if isinstance(aliases, dict) and name in aliases:
        name = str(aliases[name] or "")
    return None if name in ("", "default") else name


def _stop(body: Body) -> tuple[str, ...]:
    value = body.take("stop", [])
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise wrong("stop", value, "a string or a list of strings")
    if len(stops) > MOST_STOPS:
        raise BadParameter(f"stop has {len(stops)} strings, but {MOST_STOPS} is the most.", param="stop")
    if any(not stop or len(stop) > LONGEST_STOP for stop in stops):
        raise BadParameter(f"A stop string has to have 1 to {LONGEST_STOP} characters.", param="stop")
    return tuple(stops)


async def _params(body: Body, context: ExtensionContext) -> tuple[dict[str, Any], list[Notice]]:
    """Sampling values by PARAMS name: the preset's, if one is named, and over them the request's own."""
    notices: list[Notice] = []
    values: dict[str, Any] = {}
    if preset := body.text("preset"):
        stored = await asyncio.to_thread(context.presets.load, preset)
        values = check_values({name: value for name, value in stored.items() if name in CANONICAL})
    given: dict[str, Any] = {}
    for name in [name for name in body.rest() if name in CANONICAL]:
        value = body.take(name)
        given[name] = _length(name, value) if name in LENGTHS else value
    seed = given.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool) and not -1 <= seed < SEEDS:
        given["seed"] = seed % SEEDS
        notices.append(Notice("seed_folded", f"The seed {seed} was taken modulo {SEEDS}.", param="seed"))
    values.update(check_values(given))
    return values, notices


def _length(name: str, value: Any) -> Any:
    """Our 0 means "no limit"; here that is -1 or leaving it out, and 0 would be a reply of nothing."""
    if value == -1:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        raise BadParameter(f"{name} is {value}, but it has to be at least 1.", param=name,
                           hint="Leave it out for no limit.")  # fmt: skip
    return value


def _schema(body: Body) -> Mapping[str, Any] | None:
    """The JSON schema the reply has to follow, from response_format or json_schema."""
    direct = body.object("json_schema") if body.has("json_schema") else None
    wanted = body.object("response_format")
    kind = wanted.get("type", "text") if wanted else "text"
    if kind == "json_object":
        return {"type": "object"}
    if kind == "json_schema":
        inner = wanted.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, dict) else None
        if not isinstance(schema, dict):
            raise BadParameter("response_format.json_schema.schema has to be a JSON schema.",
                               param="response_format.json_schema.schema")  # fmt: skip
        return schema
    if kind != "text":
        raise wrong("response_format.type", kind, "one of text, json_object, json_schema")
    return direct


def refuse(condition: bool, name: str, why: str) -> None:
    """A 400 for something that is not offered."""
    if condition:
        raise BadRequest(why, param=name, code="unsupported")

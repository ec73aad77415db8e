"""The fields both kinds of completion share, and what becomes of those that have no effect here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.extension_api import (
    CANONICAL,
    BadParameter,
    BadRequest,
    Body,
    Constraint,
    ExtensionContext,
    ModelChoice,
    Notice,
    read_constraint,
    read_lora,
    read_sampling,
    read_stop,
)

MOST_CHOICES = 16

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
    "tools": "Tools go with chats: use /v1/chat/completions.",
    "functions": "This older form of tools is not understood; use tools.",
    "audio": "Audio replies are not offered.",
    "web_search_options": "Web search is not offered over this API.",
}


@dataclass(frozen=True, slots=True)
class Common:
    """What both kinds of request come to. `model` None = the one that is loaded."""

    model: str | None
    params: Mapping[str, Any]
    stop: tuple[str, ...]
    n: int
    stream: bool
    usage: bool
    constraint: Constraint
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
    options = body.inner("stream_options")
    options.take("include_obfuscation")  # padding against those who watch an encrypted line
    constraint, said = read_constraint(body)
    params, more = await read_sampling(body, context)
    return Common(
        model=ModelChoice(context).read(body),
        params=params,
        stop=read_stop(body),
        n=body.integer("n", 1, 1, MOST_CHOICES),
        stream=body.flag("stream"),
        usage=options.flag("include_usage"),
        constraint=constraint,
        overflow=body.choice("context_overflow", ("error", "drop_oldest"), "error"),
        lora=read_lora(body),
        negative_prompt=body.text("negative_prompt"),
        notices=(*notices, *said, *more),
    )


def unknown_fields(body: Body, known: tuple[str, ...]) -> tuple[Notice, ...]:
    """A Notice for each field nobody asked for, with the name that may have been meant."""
    return body.unknown((*known, *CANONICAL))


def refuse(condition: bool, name: str, why: str) -> None:
    """A 400 for something that is not offered."""
    if condition:
        raise BadRequest(why, param=name, code="unsupported")

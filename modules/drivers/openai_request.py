"""Our request in the words of servers that speak OpenAI's protocol. Pure; what each kind takes is in the flavours."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loaders.served.server_kinds import Flavour, samplers_of
from modules.errors import BadParameter, BadRequest, Unsupported
from modules.messages.parts import ImagePart, TextPart
from modules.messages.tool_calls import openai_message
from modules.sampling.params import BY_NAME
from modules.types import GenerationRequest, Message

_OWN_WORDS = frozenset({"max_tokens", "seed", "top_k", "logit_bias"})
_MOST_TOP = 20
_KINDS = (("iVBOR", "png"), ("/9j/", "jpeg"), ("R0lG", "gif"), ("UklG", "webp"))
OPTIONAL = ("seed", "stream_options", "logit_bias", "frequency_penalty", "presence_penalty", "top_p", "temperature",
            "max_tokens")  # fmt: skip
"""What a server that does not know it may refuse, and what a reply can be had without."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request ready to be sent: the route below the API's path, the body, and the seed in it."""

    path: str
    body: dict[str, Any]
    seed: int


def ask_for(request: GenerationRequest, flavour: Flavour, model: str, limit: int | None = None) -> Ask:
    """The request's route and body.

    limit   tokens a raw prompt without a limit of its own may use, where the server has to be given a number
    Raises BadRequest for what is empty, Unsupported for what this kind of server cannot do.
    """
    values = {name: param.default for name, param in BY_NAME.items()} | dict(request.params)
    seed = _whole(values["seed"])
    body: dict[str, Any] = {
        "model": model,
        "stream": True,  # always: only a streamed request surely ends when its client hangs up
        "stream_options": {"include_usage": True},
        "seed": seed if seed >= 0 else secrets.randbelow(2**31),
        **_sampling(request.params, values, flavour),
    }
    most = _whole(values["max_tokens"])
    if most > 0:
        body["max_tokens"] = most
    if request.messages is not None:
        path = "/chat/completions"
        body |= _chat(request, flavour)
    else:
        path = "/completions"
        body["prompt"] = _prompt(request)
        if most <= 0 and flavour.open_limit != "leave out":
            body["max_tokens"] = limit
    body |= _structure(request, flavour)
    if request.lora:
        body |= _adapter(request.lora, flavour)
    return Ask(path, body, int(body["seed"]))


def _sampling(given: Mapping[str, Any], values: Mapping[str, Any], flavour: Flavour) -> dict[str, Any]:
    known = samplers_of(flavour.name)
    body = {
        wire: values[name]
        for name, wire in known.items()
        if name not in _OWN_WORDS
        and (flavour.complete or name == "temperature" or values[name] != BY_NAME[name].default)
    }
    if "top_k" in known:
        body["top_k"] = _whole(values["top_k"]) or flavour.top_k_off
    if values["logit_bias"]:
        body["logit_bias"] = dict(values["logit_bias"])
    return body


def _prompt(request: GenerationRequest) -> Any:
    prompt = request.prompt
    if not prompt:
        raise BadRequest("The prompt is empty.", hint="Send at least one character or token.", param="prompt")
    if request.images:
        raise Unsupported("This server takes images in chats only.", hint="Send messages.", param="images")
    return list(prompt) if isinstance(prompt, tuple) else _sendable(prompt)


def _chat(request: GenerationRequest, flavour: Flavour) -> dict[str, Any]:
    messages = request.messages
    if not messages:
        raise BadRequest("There is no message.", hint="Send at least one.", param="messages")
    body: dict[str, Any] = {"messages": [_message(message) for message in messages]}
    body |= _tools(request)
    if request.template_vars and flavour.template:
        body["chat_template_kwargs"] = dict(request.template_vars)
    if request.continue_last:
        body |= {"continue_final_message": True}
        if flavour.name == "vllm":  # the others know no such switch, and leave the generation prompt out by themselves
            body["add_generation_prompt"] = False
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": min(max(1, request.logprobs), _MOST_TOP)}
    return body


def _message(message: Message) -> dict[str, Any]:
    if not message.images:
        text = _sendable(message.text)
        return openai_message(message, text if text or not message.tool_calls else None)
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ImagePart):
            parts.append({"type": "image_url", "image_url": {"url": _data_url(part.data)}})
        elif isinstance(part, TextPart) and part.text:
            parts.append({"type": "text", "text": _sendable(part.text)})
    return openai_message(message, parts)


def _tools(request: GenerationRequest) -> dict[str, Any]:
    """The functions on offer; nothing where there are none, because servers refuse a choice among none."""
    if not request.tools:
        return {}
    body: dict[str, Any] = {"tools": [dict(tool) for tool in request.tools]}
    if request.tool_choice != "auto":
        body["tool_choice"] = request.tool_choice
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return body


def _data_url(image: str) -> str:
    kind = next((kind for start, kind in _KINDS if image.startswith(start)), "png")
    return f"data:image/{kind};base64,{image}"


def _structure(request: GenerationRequest, flavour: Flavour) -> dict[str, Any]:
    """The grammar or the JSON schema, and the probabilities of a raw prompt."""
    body: dict[str, Any] = {}
    raw = request.messages is None
    if raw and request.logprobs is not None:
        body["logprobs"] = min(max(1, request.logprobs), _MOST_TOP)  # 0 turns them off at some servers
    if request.grammar and request.json_schema is not None:
        raise BadParameter("A grammar and a JSON schema exclude each other.", param="grammar")
    if request.json_schema is not None:
        if raw and not flavour.completions_schema:
            raise Unsupported("This server keeps to a JSON schema in chats only.", hint="Send messages.",
                              param="json_schema")  # fmt: skip
        schema = dict(request.json_schema)
        whole: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema,
                                 "strict": True}}  # fmt: skip
        body["response_format"] = whole if flavour.json_format == "json_schema" else {"type": "json", "schema": schema}
    if request.grammar:
        body |= _grammar(request.grammar, flavour)
    return body


def _grammar(text: str, flavour: Flavour) -> dict[str, Any]:
    if flavour.grammar == "structured_outputs":
        return {"structured_outputs": {"grammar": text}}
    if flavour.grammar == "ebnf":
        return {"ebnf": text}
    if flavour.grammar == "response_format":
        return {"response_format": {"type": "ebnf", "ebnf": text}}
    raise Unsupported("This server takes no grammars.", hint="A JSON schema may do.", param="grammar")


def _adapter(scales: Mapping[str, float], flavour: Flavour) -> dict[str, Any]:
    """One adapter at its own strength: these servers can neither mix adapters nor scale them."""
    used = {name: scale for name, scale in scales.items() if scale}
    if not used:
        return {}
    if not flavour.lora:
        raise Unsupported("This server takes no adapters.", param="lora")
    if len(used) > 1 or any(scale != 1 for scale in used.values()):
        raise Unsupported("This server uses one adapter at a time, at its full strength.",
                          hint="Name one adapter with 1.0.", param="lora")  # fmt: skip
    return {flavour.lora: next(iter(used))}


def without(body: Mapping[str, Any], said: str, named: str) -> dict[str, Any] | None:
    """The body without what the server refused, None when that is not something a reply can be had without.

    said, named   the refusal's words, and the parameter it names
    """
    guilty = named if named in OPTIONAL else next((name for name in OPTIONAL if _mentions(said, name)), "")
    if guilty not in body:
        return None
    rest = {name: value for name, value in body.items() if name != guilty}
    if guilty == "max_tokens":  # OpenAI's newer models know it by another name
        rest["max_completion_tokens"] = body["max_tokens"]
    return rest


def _mentions(said: str, name: str) -> bool:
    """Whether a refusal is about a parameter: it stands in quotes in it, or is said to be unknown."""
    low = said.casefold()
    quoted = any(f"{mark}{name}{mark}" in low for mark in "'\"`")
    blamed = ("unsupported", "not supported", "unknown", "unrecognized", "not permitted", "extra", "unexpected")
    return quoted and any(word in low for word in blamed)


def unit(vector: list[Any]) -> tuple[float, ...]:
    """A vector made of length 1. Raises ValueError for what is none."""
    length = math.sqrt(sum(value * value for value in vector))
    if not vector or not length or not math.isfinite(length):
        raise ValueError("an embedding that is no direction")
    return tuple(value / length for value in vector)


def _sendable(text: str) -> str:
    """A lone surrogate is not text and cannot be sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) else 0

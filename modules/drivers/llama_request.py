"""Our request in llama-server's words (POST /completion).

Every sampler is sent with an explicit value, the neutral one included: llama-server's own defaults are not
neutral (top_k 40, top_p 0.95, min_p 0.05, temperature 0.8), and what the table says has to be what happens.
Source: llama.cpp, tools/server/README.md, "POST /completion".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from loaders.text.media_mark import MEDIA_MARK, marked_prompt
from modules.errors import BadParameter, BadRequest
from modules.grammars.gbnf import read_gbnf
from modules.grammars.lark import to_lark
from modules.sampling.params import BY_NAME, DEFAULT_SAMPLER_ORDER, LLAMA, dialect
from modules.types import GenerationRequest

SAMPLER_NAMES: Mapping[str, str] = {
    "repetition_penalty": "penalties", "presence_penalty": "penalties", "frequency_penalty": "penalties",
    "penalties": "penalties", "dry": "dry", "top_n_sigma": "top_n_sigma", "top_k": "top_k",
    "typical_p": "typ_p", "typ_p": "typ_p", "typical": "typ_p", "top_p": "top_p", "min_p": "min_p", "xtc": "xtc",
    "temperature": "temperature", "dynamic_temperature": "temperature",
}  # fmt: skip
"""Names in sampler_priority → llama-server's. A name that is not here is no sampler of this engine."""

_WANTED = (
    "content", "stop", "stop_type", "truncated", "tokens_predicted", "tokens_evaluated", "timings",
    "completion_probabilities",
)  # fmt: skip
"""What is asked of the final event; without it the whole prompt would come back in it."""

_DYNAMIC = frozenset({"dynamic_temperature", "dynatemp_low", "dynatemp_high"})
_OWN_WORDS = frozenset({*_DYNAMIC, "temperature", "max_tokens", "seed", "logit_bias", "sampler_priority",
                        "adaptive_target", "mirostat_mode"})  # fmt: skip
_SAME_WORDS = {name: wire for name, wire in dialect(LLAMA).items() if name not in _OWN_WORDS}


@dataclass(frozen=True, slots=True)
class Prompting:
    """What a server needs to be told with a prompt.

    adapters  the loaded LoRA adapters in its order, with the strength each has by default
    mark      what stands for an image in a prompt; llama-server draws one at its start
    reuse     False where a prompt in its cache may have been computed with other adapters
    marks     control tokens of this model that mark thinking; llama-server hides those it is not told to preserve
    context   tokens a request may use: what "the whole context" means
    llguidance  whether grammars are sent in llguidance's language: llama.cpp's own reader of GBNF crashes at deep
              nesting, and computes for minutes on some grammars
    """

    adapters: tuple[tuple[str, float], ...] = ()
    mark: str = MEDIA_MARK
    reuse: bool = True
    context: int = 0
    marks: tuple[str, ...] = ()
    llguidance: bool = False


_PLAIN = Prompting()
_LONGEST = 2**20
"""Tokens back where the context is not known; the server keeps a number for each."""
_NOWHERE = "\U0010fffd"
"""A character of private use, at the end of Unicode."""


def completion_body(request: GenerationRequest, prompting: Prompting = _PLAIN) -> dict[str, Any]:
    """The JSON body. A seed of -1 is drawn here, because the engine does not tell the one it drew.

    Raises BadRequest for a prompt that is empty, which llama-server would accept and answer with nothing, and for
    images or adapters that do not fit.
    """
    prompt = request.prompt
    if not prompt:
        raise BadRequest("The prompt is empty.", hint="Send at least one character or token.", param="prompt")
    if isinstance(prompt, str):  # a lone surrogate is not text and cannot be sent
        prompt = prompt.encode("utf-8", "replace").decode("utf-8")
    values = {name: param.default for name, param in BY_NAME.items()} | dict(request.params)
    seed = int(_number(values["seed"]))
    limit = int(_number(values["max_tokens"]))
    span = int(_number(values["repetition_penalty_range"]))
    span = span if span >= 0 else prompting.context or _LONGEST  # the server takes no -1
    body: dict[str, Any] = {
        "prompt": _with_images(prompt, request, prompting.mark),
        "stream": True,  # always: only a streamed request ends when its client hangs up
        "return_progress": True,
        # A prompt taken from the cache is computed in other batches than a new one, and the rounding differs: with a
        # seed that was asked for, the same prompt has to give the same text, so it is computed from the start.
        "cache_prompt": seed < 0 and prompting.reuse,
        "response_fields": _WANTED,
        "n_predict": limit if limit > 0 else -1,
        "seed": seed if seed >= 0 else secrets.randbelow(2**31),
        **{wire: values[name] for name, wire in _SAME_WORDS.items()},
        **_temperature(values),
        "repeat_last_n": span,
        "dry_penalty_last_n": span,
        # An empty list is refused; what no text holds breaks nothing.
        "dry_sequence_breakers": values["dry_sequence_breakers"] or [_NOWHERE],
        "mirostat": int(str(values["mirostat_mode"])),
        "logit_bias": _bias(values["logit_bias"]),
        "samplers": sampler_order(_names(values["sampler_priority"])),
        "adaptive_target": -1.0,
    }
    if _number(values["adaptive_target"]) > 0:
        body["adaptive_target"] = values["adaptive_target"]
        body["samplers"].append("adaptive_p")  # it chooses the token itself, so it is last
    if mix := adapter_mix(request, prompting.adapters):
        # All of them each time: a request that names none would take over what was computed with another mix.
        body["lora"] = [{"id": number, "scale": scale} for number, scale in enumerate(mix)]
    if request.keep_marks and prompting.marks:
        body["preserved_tokens"] = list(prompting.marks)
    if request.logprobs is not None:
        body["n_probs"] = max(1, request.logprobs)
    if request.grammar:
        body["grammar"] = to_lark(read_gbnf(request.grammar)) if prompting.llguidance else request.grammar
    if request.json_schema is not None:
        if request.grammar:
            raise BadParameter("A grammar and a JSON schema exclude each other.", param="grammar")
        body["json_schema"] = dict(request.json_schema)
    return body


def adapter_mix(request: GenerationRequest, adapters: tuple[tuple[str, float], ...]) -> tuple[float, ...]:
    """The strength of each loaded adapter for this request. Raises BadParameter for one that is not loaded."""
    if request.lora is None:
        return tuple(scale for _, scale in adapters)
    names = [name for name, _ in adapters]
    for name in request.lora:
        if name not in names:
            loaded = ", ".join(names) or "none"
            raise BadParameter(f"There is no adapter called {name!r} (loaded: {loaded}).", param="lora",
                               hint="Adapters are loaded together with the model.")  # fmt: skip
    return tuple(float(request.lora.get(name, 0.0)) for name in names)


def _with_images(prompt: str | tuple[int, ...], request: GenerationRequest, mark: str) -> Any:
    images, places = request.images, request.image_places
    if not images:
        return list(prompt) if isinstance(prompt, tuple) else prompt
    if isinstance(prompt, tuple):
        raise BadRequest("A prompt of token ids cannot hold images.", hint="Send it as text.", param="prompt")
    if len(places) != len(images):
        raise BadRequest(f"The prompt has places for {len(places)} images, but {len(images)} were sent.",
                         param="images")  # fmt: skip
    return {"prompt_string": marked_prompt(prompt, places, mark), "multimodal_data": list(images)}


def _temperature(values: Mapping[str, Any]) -> dict[str, Any]:
    """Low and high, as people have them in presets, as llama-server's middle and range."""
    if not values["dynamic_temperature"]:
        return {"temperature": values["temperature"], "dynatemp_range": 0.0}
    low, high = sorted((_number(values["dynatemp_low"]), _number(values["dynatemp_high"])))
    return {"temperature": (low + high) / 2, "dynatemp_range": (high - low) / 2}


def sampler_order(names: Iterable[str]) -> list[str]:
    """llama-server's order for ours. What the list leaves out follows in the usual order: a sampler that has a
    value has to act, wherever it stands."""
    order: list[str] = []
    for name in (*names, *DEFAULT_SAMPLER_ORDER):
        wire = SAMPLER_NAMES.get(name)
        if wire is not None and wire not in order:
            order.append(wire)
    return order


def _bias(value: Any) -> list[list[Any]]:
    """Pairs of token id and bias; -100 forbids the token, as OpenAI's API means it."""
    return [[int(token), False if bias <= -100 else bias] for token, bias in value.items()]


def _names(value: Any) -> list[str]:
    return [str(name) for name in value]


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else 0

"""What is refused before a reply is begun, and what is said of it: nothing asked for is ignored in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from loaders.base import Feature, LoaderSpec, features_of
from modules.drivers.base import Engine
from modules.errors import BadParameter, BadRequest, EngineCrashed, EngineError, Unsupported
from modules.generation.roles import fit_roles
from modules.generation.tool_checks import check_tools
from modules.messages.images import all_of, check_images
from modules.messages.neighbours import merge_neighbours
from modules.sampling import params
from modules.sampling.params import without_neutral
from modules.types import EngineInfo, GenerationRequest, Notice

LARGEST_LORA = 10.0  # adapters are made for 1; far beyond it a model says nothing but noise


def check(request: GenerationRequest) -> None:
    """What can be told without an engine. Raises BadRequest or BadParameter."""
    if (request.messages is None) == (request.prompt is None):
        raise BadRequest("A request needs either messages or a prompt, not both.")
    if request.messages is not None and not request.messages:
        raise BadRequest("There are no messages to answer.", param="messages")
    if request.messages is not None and request.images:
        raise BadRequest("The images of a chat belong to its messages.", param="images")
    if request.prompt is not None and not len(request.prompt):
        raise BadRequest("The prompt is empty.", param="prompt")
    if request.continue_last and (request.messages is None or request.messages[-1].role != "assistant"):
        raise BadRequest("Only a conversation that ends with the assistant can be continued.", param="messages")
    check_tools(request)
    for name, scale in (request.lora or {}).items():
        if not -LARGEST_LORA <= scale <= LARGEST_LORA:  # nan is not either
            raise BadParameter(
                f"The scale of {name} is {scale}, but it has to be a number from {-LARGEST_LORA:g} to "
                f"{LARGEST_LORA:g}.", hint="1 is what an adapter was made for, 0 is off.", param="lora")  # fmt: skip


async def check_pictures(request: GenerationRequest) -> None:
    """Look at the images, in a thread. Raises BadRequest or TooLarge."""
    images = request.images if request.messages is None else all_of(request.messages)
    if images:
        await asyncio.to_thread(check_images, images, "images" if request.messages is None else "messages")


def checked_against(request: GenerationRequest, engine: Engine) -> list[Notice]:
    """Refuse what this engine cannot do at all; name what it would ignore."""
    spec, info = engine.spec, engine.info
    offered = features_of(spec, info)
    guided = without_neutral(request.params).get("guidance_scale") is not None
    images = bool(request.images) or any(message.images for message in request.messages or ())
    wanted = (
        (images, Feature.VISION, "images"),
        (bool(request.tools), Feature.TOOLS, "tools"),
        (bool(request.lora), Feature.LORA, "lora"),
        (request.logprobs is not None, Feature.LOGPROBS, "logprobs"),
        (bool(request.grammar), Feature.GRAMMAR, "grammar"),
        (request.json_schema is not None, Feature.JSON_SCHEMA, "json_schema"),
        (request.continue_last, Feature.CONTINUE, "continue_last"),
        (request.echo and request.logprobs is not None, Feature.ECHO_PROMPT, "echo"),
        (bool(request.negative_prompt) and guided, Feature.NEGATIVE_PROMPT, "negative_prompt"),
    )
    for asked, feature, name in wanted:
        if asked and feature not in offered:
            raise lacking(spec, info, feature, name)
    _check_adapters(request, info)
    notices = [
        Notice("sampler_ignored", f"The loader {spec.name} does not offer {name}; it was ignored.", param=name)
        for name in params.ignored(request.params, spec.samplers)
    ]
    if request.negative_prompt and not guided:
        text = "negative_prompt has no effect without guidance_scale (1 is off)."
        notices.append(Notice("without_effect", text, param="negative_prompt"))
    if request.messages is not None:
        sent = merge_neighbours(request.messages) if request.merge_neighbours else request.messages
        notices += fit_roles(sent, info.template)[1]
    if request.messages is not None and info.renders_templates and not info.chat_template:
        text = f"The model {info.model} brings no chat template; a plain one is used instead."
        notices.append(Notice("no_chat_template", text))
    return notices


CHATML_STOPS = ("<|im_end|>", "<|im_start|>")
"""Marks of the plain template (loaders/text/template.py); a model may write them as text, and go on."""


def with_fallback_stops(request: GenerationRequest, info: EngineInfo) -> GenerationRequest:
    """The request with the stop strings of the plain template, for a chat with a model that brings no template."""
    if request.messages is None or info.chat_template or not info.renders_templates:
        return request
    return replace(request, stop=(*request.stop, *(one for one in CHATML_STOPS if one not in request.stop)))


def lacking(spec: LoaderSpec, info: EngineInfo, feature: Feature, name: str, hint: str = "") -> Unsupported:
    """The error for something the loaded model does not offer; whose fault that is, the loader's or the model's."""
    needs = "" if name == feature.value else f", which {name} needs"
    if feature in spec.features:
        said = f"The model {info.model}, as it is loaded now, does not offer {feature.value}{needs}."
        hint = hint or "Leave it out, or load a model (or the part or setting it needs) that offers it."
    else:
        said = f"The loader {spec.name} does not offer {feature.value}{needs}."
        hint = hint or "Leave it out, or load the model with a loader that offers it."
    return Unsupported(said, hint=hint, param=name)


def _check_adapters(request: GenerationRequest, info: EngineInfo) -> None:
    unknown = [name for name in request.lora or {} if name not in info.adapters]
    if unknown:
        there = ", ".join(info.adapters) or "none"
        raise BadParameter(
            f"There is no adapter called {unknown[0][:200]!r} in {info.model} as it is loaded.",
            hint=f"There are: {there}. Adapters are named when a model is loaded.", param="lora",
            code="adapter_not_found")  # fmt: skip


async def text_of_ids(engine: Engine, ids: Sequence[int], param: str) -> str:
    """The text of token ids a caller sent. Raises BadParameter for ids that are not the model's."""
    try:
        return await engine.detokenize(ids)
    except EngineCrashed:
        raise
    except EngineError as error:
        raise BadParameter(
            "The engine cannot make text of these token ids.",
            hint="Each has to be one of this model's vocabulary.",
            param=param,
        ) from error

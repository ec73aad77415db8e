"""What is refused before a reply is begun, and what is said of it: nothing asked for is ignored in silence."""

from __future__ import annotations

from loaders.base import Feature, features_of
from modules import params
from modules.engine.base import Engine
from modules.errors import BadRequest, Unsupported
from modules.schema_check import check_grammar
from modules.types import GenerationRequest, Notice


def check(request: GenerationRequest) -> None:
    """What can be told without an engine. Raises BadRequest or BadParameter."""
    if (request.messages is None) == (request.prompt is None):
        raise BadRequest("A request needs either messages or a prompt, not both.")
    if request.messages is not None and not request.messages:
        raise BadRequest("There are no messages to answer.", param="messages")
    if request.prompt is not None and not len(request.prompt):
        raise BadRequest("The prompt is empty.", param="prompt")
    check_grammar(request.grammar)
    if request.continue_last and (request.messages is None or request.messages[-1].role != "assistant"):
        raise BadRequest("Only a conversation that ends with the assistant can be continued.", param="messages")


def checked_against(request: GenerationRequest, engine: Engine) -> list[Notice]:
    """Refuse what this engine cannot do at all; name what it would ignore."""
    spec = engine.spec
    offered = features_of(spec, engine.info)
    images = bool(request.images) or any(message.images for message in request.messages or ())
    wanted = (
        (images, Feature.VISION, "images"),
        (bool(request.lora), Feature.LORA, "lora"),
        (request.logprobs is not None, Feature.LOGPROBS, "logprobs"),
        (bool(request.grammar), Feature.GRAMMAR, "grammar"),
        (request.json_schema is not None, Feature.JSON_SCHEMA, "json_schema"),
        (request.continue_last, Feature.CONTINUE, "continue_last"),
        (request.echo and request.logprobs is not None, Feature.ECHO_PROMPT, "echo"),
    )
    for asked, feature, name in wanted:
        if asked and feature not in offered:
            raise Unsupported(
                f"The loader {spec.name} does not offer {feature.value}, which {name} needs.",
                hint="Leave it out, or load the model with a loader that offers it.",
                param=name,
            )
    notices = [
        Notice("sampler_ignored", f"The loader {spec.name} does not offer {name}; it was ignored.", param=name)
        for name in params.ignored(request.params, spec.samplers)
    ]
    if request.messages is not None and not engine.info.chat_template:
        text = f"The model {engine.info.model} brings no chat template; a plain one is used instead."
        notices.append(Notice("no_chat_template", text))
    return notices

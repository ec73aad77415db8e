"""Thinking on or off, as a variable of the loaded model's chat template."""

from __future__ import annotations

from dataclasses import replace

from modules.types import EngineInfo, GenerationRequest, Notice


def with_thinking(request: GenerationRequest, info: EngineInfo) -> tuple[GenerationRequest, tuple[Notice, ...]]:
    """The request with the template's variable for what it wants, and a notice where the template has none.

    A variable the request names itself stays as it is.
    """
    if request.thinking == "default" or request.messages is None:
        return request, ()
    switch = info.template.thinking
    if switch is not None:
        value = switch.on if request.thinking == "on" else switch.off
        return replace(request, template_vars={switch.name: value, **request.template_vars}), ()
    if request.thinking == "off" and info.renders_templates and not info.template.reasons:
        return request, ()  # it does not think anyway
    text = f"Thinking cannot be turned {request.thinking} for {info.model}: its chat template has no variable for it."
    return request, (Notice("thinking_fixed", text, "thinking"),)

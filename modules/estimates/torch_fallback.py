"""How to make a load under PyTorch smaller that did not fit, step by step."""

from __future__ import annotations

from modules.estimates.values import Settings, Step
from modules.formats.facts import ModelFacts

_USUAL = 8192


def context_step(most: int) -> Step:
    """At most so many tokens of context."""

    def change(settings: Settings, facts: ModelFacts) -> Settings:
        stated = settings.get("context", 0)
        now = (
            int(stated) if isinstance(stated, (int, float)) and stated else min(facts.context_length or _USUAL, _USUAL)
        )
        return {"context": most} if now > most else {}

    return Step(change, "The context is {context:,} tokens.")


def _half_numbers(settings: Settings, facts: ModelFacts) -> Settings:
    full = settings.get("dtype") == "float32" or (
        settings.get("dtype") == "auto" and facts.quant.lower() in ("float32", "fp32", "f32")
    )
    return {"dtype": "bfloat16"} if full and settings.get("quantization", "none") == "none" else {}


def _spread(settings: Settings, facts: ModelFacts) -> Settings:
    return {"device_map": "auto"} if settings.get("device_map") == "off" and settings.get("device") != "cpu" else {}


def _processor(settings: Settings, facts: ModelFacts) -> Settings:
    return {"device": "cpu", "device_map": "off"} if settings.get("device", "cpu") != "cpu" else {}


TORCH_LADDER: tuple[Step, ...] = (
    context_step(8192),
    context_step(4096),
    Step(_half_numbers, "The weights are kept as {dtype}."),
    context_step(2048),
    Step(_spread, "The model is spread over all devices and the main memory."),
    Step(_processor, "The processor computes everything."),
)
"""For LoaderSpec.ladder."""

"""How to make a load smaller that did not fit, step by step: what a person misses least comes first."""

from __future__ import annotations

from modules.estimates.values import Settings, Step
from modules.formats.facts import ModelFacts

_USUAL = 8192
_FULL = ("f16", "bf16", "f32")


def _context(most: int) -> Step:
    def change(settings: Settings, facts: ModelFacts) -> Settings:
        context = settings.get("context", 0)
        now = (
            int(context)
            if isinstance(context, (int, float)) and context
            else min(facts.context_length or _USUAL, _USUAL)
        )
        return {"context": most} if now > most else {}

    return Step(change, "The context is {context:,} tokens.")


def _smaller_cache(settings: Settings, facts: ModelFacts) -> Settings:
    keys = {"cache_type_k": "q8_0"} if settings.get("cache_type_k") in _FULL else {}
    values = settings.get("cache_type_v") in _FULL and settings.get("flash_attention") != "off"
    return {**keys, **({"cache_type_v": "q8_0"} if values else {})}


def _smaller_batch(settings: Settings, facts: ModelFacts) -> Settings:
    size = settings.get("ubatch_size", 512)
    return {"ubatch_size": 128} if isinstance(size, (int, float)) and size > 128 else {}


def _half_the_layers(settings: Settings, facts: ModelFacts) -> Settings:
    layers, now = facts.layers or 0, settings.get("gpu_layers", -1)
    half = layers // 2 if now == -1 or not isinstance(now, (int, float)) or now > layers else int(now) // 2
    return {"gpu_layers": half} if half > 0 and now != 0 else {}


def _processor(settings: Settings, facts: ModelFacts) -> Settings:
    return {"gpu_layers": 0} if settings.get("gpu_layers", -1) != 0 else {}


LADDER: tuple[Step, ...] = (
    _context(8192),
    _context(4096),
    Step(_smaller_cache, "The KV cache is kept in 8 bits."),
    Step(_smaller_batch, "Prompts are computed {ubatch_size} tokens at a time."),
    _context(2048),
    Step(_half_the_layers, "{gpu_layers} layers are on the graphics card."),
    Step(_processor, "The processor computes everything."),
    _context(1024),
)
"""For LoaderSpec.ladder."""

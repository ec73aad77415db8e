"""What a model takes under ExLlamaV2 and V3 on graphics cards, and how it takes less."""

from __future__ import annotations

from collections.abc import Sequence

from modules.estimates import gguf_parts as parts
from modules.estimates.fit import device_name, judged
from modules.estimates.values import Estimate, Settings, Share, Step
from modules.formats.facts import ModelFacts
from modules.hardware.values import CUDA, Device, Hardware

WORKER_BYTES = 900 << 20
"""The worker's main memory without a model: Python, torch with CUDA, the library."""
CARD_BYTES = 600 << 20
"""What CUDA and the kernels take on a card."""
RESERVED = 0.5 * 2**30
"""What the libraries leave free on a card unless told otherwise."""
PAGE = 256
USUAL = 8192
_SCALE_BYTES = 2 / 32  # a quantised cache has one 16-bit scale for 32 numbers


def estimate_exllama(facts: ModelFacts, settings: Settings, hardware: Hardware) -> Estimate:
    """Bytes per device. `settings` are complete."""
    partial = ["What a graphics device takes besides the model is a usual value."]
    shape = parts.shape_of(facts)
    context = parts.number(settings, "context", 0) or min(facts.context_length or USUAL, USUAL)
    weights, cache, buffers = facts.weights or facts.size, 0, 0
    embedding = parts.integer(facts, "embedding_bytes")  # stays in main memory
    if shape is None:
        partial.append("The configuration says too little of its dimensions: only its weights count.")
    else:
        tokens = -(-context // PAGE) * PAGE
        row = shape.keys * number_bytes(settings, "cache_type_k") + shape.values * number_bytes(
            settings, "cache_type_v"
        )
        cache = int(row * tokens * (shape.full_layers + shape.window_layers))
        chunk = min(context, parts.number(settings, "chunk_size", 2048))
        buffers = 2 * chunk * (4 * shape.hidden + 3 * shape.ff + 2 * shape.queries) + 4 * 32 * shape.vocabulary
    if settings.get("draft_model") or settings.get("mtp"):
        partial.append("The KV cache of what guesses ahead is not counted.")
    weights += parts.integer(facts, "companion_bytes")
    main = Share("cpu", embedding, 0, 0, WORKER_BYTES)
    cards = _spread(weights - embedding, cache, buffers, hardware.of_kind(CUDA))
    verdict = judged((main, *cards), hardware)
    if not cards:
        return Estimate((main,), "unknown", "No NVIDIA graphics card was found.", tuple(partial))
    return Estimate((main, *cards), verdict.value, verdict.why, tuple(partial))


def number_bytes(settings: Settings, name: str) -> float:
    """Bytes of one number of keys or values; ExLlamaV2 has one setting for both."""
    kind = str(settings.get(name, settings.get("cache_type", "fp16")))
    bits = kind.removeprefix("q")
    return 2.0 if not bits.isdigit() else int(bits) / 8 + _SCALE_BYTES


def _spread(weights: int, cache: int, buffers: int, cards: Sequence[Device]) -> list[Share]:
    """Card after card as they fill up; what fits on none is put on the last, so that it is seen."""
    shares: list[Share] = []
    left, whole = weights + cache, max(1, weights + cache)
    for card in cards:
        room = left
        if card.free is not None and card is not cards[-1]:
            room = max(0, int(card.free - RESERVED) - CARD_BYTES - buffers)
        mine = min(left, room)
        if mine:
            part = mine / whole
            shares.append(Share(device_name(card), int(weights * part), int(cache * part), buffers, CARD_BYTES))
        left -= mine
    return shares


def _smaller_cache(bits: str) -> Step:
    def change(settings: Settings, facts: ModelFacts) -> Settings:
        names = [name for name in ("cache_type", "cache_type_k", "cache_type_v") if name in settings]
        larger = any(number_bytes(settings, name) > int(bits) / 8 + _SCALE_BYTES for name in names)
        return dict.fromkeys(names, f"q{bits}") if larger else {}

    return Step(change, f"The KV cache is kept in {bits} bits.")


def _half(settings: Settings, facts: ModelFacts) -> Settings:
    now = parts.number(settings, "context", 0) or min(facts.context_length or USUAL, USUAL)
    return {"context": now // 2} if now >= 2048 else {}


_HALF = Step(_half, "The context is {context:,} tokens.")
STEPS: tuple[Step, ...] = (_smaller_cache("8"), _HALF, _smaller_cache("4"), _HALF)
"""For LoaderSpec.ladder."""

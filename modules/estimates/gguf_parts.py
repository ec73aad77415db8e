"""The parts of what llama.cpp keeps in memory: KV cache, compute buffers, repacked weights, the engine itself.

The formulas follow llama.cpp (src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp, src/llama-memory-recurrent.cpp) and
the sizes it prints; the constants were measured with tests/benchmarks/estimate_error.py on build b11549.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.estimates.values import Settings
from modules.formats.facts import ModelFacts

ENGINE_BYTES = 56 << 20
"""The worker without a model: Python, the engine's code, its threads and HTTP server."""
VOCABULARY_BYTES = 220
"""For each token of the vocabulary: its text and where it is found."""

_TYPE_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
_CELLS = 256  # the KV cache grows in steps of so many tokens
_REPACKED = ("Q4_0", "Q4_K", "IQ4_NL")
"""Types of weights that the engine lays out anew for processors with AVX2 or NEON (ggml-cpu/repack.cpp)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's dimensions with every gap filled; `guessed` says which were.

    ff      numbers of the widest feed-forward part of one token
    keys, values   numbers of one token's keys and values in one layer
    """

    layers: int
    hidden: int
    heads: int
    keys: int
    values: int
    queries: int
    ff: int
    vocabulary: int
    full_layers: int
    window_layers: int
    window: int
    guessed: tuple[str, ...] = ()


def integer(facts: ModelFacts, name: str) -> int:
    """A number of `facts.extra`, 0 where it is not there."""
    value = facts.extra.get(name, 0)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def shape_of(facts: ModelFacts) -> Shape | None:
    """The dimensions, or None when the file says too little for anything but its size."""
    if not facts.layers or not facts.hidden:
        return None
    guessed: list[str] = []
    heads = facts.heads or max(1, facts.hidden // 128)
    kv_heads = facts.kv_heads or heads
    if facts.heads is None:
        guessed.append("The file does not say how many attention heads the model has.")
    per_layer = facts.extra.get("kv_heads_by_layer")
    if isinstance(per_layer, tuple) and (real := [int(one) for one in per_layer if one]):
        kv_heads = round(sum(real) / len(real))
    head = integer(facts, "key_length") or facts.head_dim or facts.hidden // heads
    value_head = integer(facts, "value_length") or head
    latent = integer(facts, "kv_lora_rank") > 0 and kv_heads == 1  # one vector stands for keys and values
    dense = integer(facts, "feed_forward")
    used = integer(facts, "experts_used") + integer(facts, "shared_experts")
    ff = max(dense if not used or not integer(facts, "expert_feed_forward") else 0,
             used * (integer(facts, "expert_feed_forward") or dense))  # fmt: skip
    if not ff:
        ff = 4 * facts.hidden
        guessed.append("The file does not say how wide the model's layers are.")
    full = facts.kv_layers if facts.kv_layers is not None else facts.layers - facts.window_layers
    return Shape(
        layers=facts.layers, hidden=facts.hidden, heads=heads, keys=kv_heads * head,
        values=0 if latent else kv_heads * value_head, queries=heads * head, ff=ff,
        vocabulary=facts.vocabulary or 32_000, full_layers=full, window_layers=facts.window_layers,
        window=facts.window or 0, guessed=tuple(guessed),
    )  # fmt: skip


def number(settings: Settings, name: str, default: int) -> int:
    """A whole number of the settings."""
    value = settings.get(name, default)
    return int(value) if isinstance(value, (int, float)) else default


def micro_batch(settings: Settings) -> int:
    """Prompt tokens computed at once."""
    return max(1, min(number(settings, "ubatch_size", 512), number(settings, "batch_size", 2048)))


def cells(tokens: int) -> int:
    """Tokens the KV cache is made for when it has to hold `tokens`."""
    return -(-tokens // _CELLS) * _CELLS


def window_cells(shape: Shape, settings: Settings, context: int) -> int:
    """Tokens that layers with a sliding window keep: every slot's window, and the batch being computed."""
    if settings.get("swa_full") is True:
        return cells(context)
    slots = max(1, number(settings, "parallel", 1))
    return min(cells(context), cells(shape.window * slots + micro_batch(settings)))


def kv_cache(facts: ModelFacts, shape: Shape, settings: Settings, context: int) -> int:
    """Bytes of keys, values and states of all layers."""
    row = shape.keys * _type_bytes(settings, "cache_type_k") + shape.values * _type_bytes(settings, "cache_type_v")
    tokens = shape.full_layers * cells(context) + shape.window_layers * window_cells(shape, settings, context)
    return int(row * tokens) + states(facts, shape, settings)


def _type_bytes(settings: Settings, name: str) -> float:
    return _TYPE_BYTES.get(str(settings.get(name, "f16")), 2.0)


def states(facts: ModelFacts, shape: Shape, settings: Settings) -> int:
    """Bytes of what layers without attention remember; each slot has its own, whatever the context."""
    layers = integer(facts, "recurrent_layers")
    if not layers:
        return 0
    inner, size = integer(facts, "inner_size") or 2 * shape.hidden, integer(facts, "state_size")
    taps, groups = integer(facts, "conv_kernel"), max(1, integer(facts, "state_groups"))
    if not integer(facts, "inner_size") and not taps:  # RWKV: two shifted tokens and a matrix per head
        one = 2 * shape.hidden + shape.hidden * size
    elif not size:  # a short convolution only
        one = max(0, taps - 1) * shape.hidden
    else:
        one = max(0, taps - 1) * (inner + 2 * groups * size) + size * inner
    return 4 * one * layers * max(1, number(settings, "parallel", 1))


def compute(shape: Shape, settings: Settings, context: int) -> int:
    """Bytes of the buffers a micro-batch is computed in, and of the scores it gives back."""
    flash = settings.get("flash_attention", "auto") != "off"
    masked = cells(context) + (window_cells(shape, settings, context) if shape.window_layers else 0)
    feed = 4 * (5 * shape.hidden + 3 * shape.ff)
    attention = 4 * (3 * shape.hidden + 3 * shape.queries + shape.keys + shape.values)
    if not flash:
        attention += 4 * cells(context) * shape.heads
    mask = (2 if flash else 4) * masked
    # A matrix's input is copied in the type it is multiplied in; without flash attention the scores are such an input.
    work = 2 * max(shape.ff, shape.queries, shape.hidden, 0 if flash else cells(context) * shape.heads)
    slots = max(1, number(settings, "parallel", 1))
    return micro_batch(settings) * (max(feed, attention) + mask + work) + 4 * slots * shape.vocabulary


def repacked(facts: ModelFacts, features: tuple[str, ...], mapped: bool) -> int:
    """Bytes of weights that are laid out anew for this processor and are there twice.

    With a mapped file the old pages stay. Without, only a matrix that serves as input and as output is there twice.
    """
    if features and "avx2" not in features and "asimd" not in features:
        return 0
    size = sum(integer(facts, f"bytes_{name}") for name in _REPACKED)
    embedding, tied = integer(facts, "embedding_bytes"), not integer(facts, "output_bytes")
    if not size:
        return 0
    if not mapped:
        return embedding if tied and facts.quant.upper() in ("Q4_0", "IQ4_NL") else 0
    return max(0, size if tied else size - embedding)  # rows of the input are looked up, not multiplied


def engine(shape: Shape | None) -> int:
    """Bytes the engine takes whatever the settings."""
    return ENGINE_BYTES + VOCABULARY_BYTES * (shape.vocabulary if shape else 0)

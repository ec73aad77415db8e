"""What a Hugging Face model takes under Transformers, on the processor, on graphics devices, or split between them."""

from __future__ import annotations

from modules.estimates import gguf_parts as parts
from modules.estimates.fit import amount, device_name, judged
from modules.estimates.values import Estimate, Settings, Share
from modules.formats.facts import ModelFacts
from modules.hardware.values import CUDA, Device, Hardware

ENGINE_BYTES = 430 << 20
"""The worker without a model on the processor: Python, torch, Transformers."""
CARD_BYTES = 550 << 20
"""What CUDA and torch's kernels take on a device."""
KEPT_FREE = 0.10
"""Part of a device that a device map leaves free for what is computed."""
BATCH = 256
"""Prompt tokens a processor computes at once, unless set."""
QUANTISER_BYTES = 20 << 20
"""What the library that quantises takes on a processor."""
EIGHT_BIT_BYTES = 70 << 20
"""What computing with 8-bit weights takes there besides: it is done in larger numbers."""
GROWN = 1.12
"""A cache's buffer grows by a quarter at most, so that on average an eighth of it waits for tokens."""
TYPICAL_TOKENS = 2048
"""Tokens the growing cache is counted with where no limit is set."""

_DTYPE_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "fp32": 4.0, "fp16": 2.0, "bf16": 2.0,
                "f32": 4.0, "f16": 2.0, "float8_e4m3fn": 1.0}  # fmt: skip
_QUANT_BYTES = (("4bit", 0.56), ("nf4", 0.56), ("fp4", 0.56), ("int4", 0.56), ("8bit", 1.06), ("int8", 1.06),
                ("fp8", 1.03), ("float8", 1.03))  # fmt: skip
_KINDS = {"auto": ("cuda", "rocm", "xpu", "metal"), "cuda": ("cuda", "rocm"), "mps": ("metal",), "xpu": ("xpu",)}
_QUANT_SETTINGS = ("quantisation", "quantization", "quantize", "load_in")
_UNQUANTISED = ("", "none", "off", "no", "auto")
_DTYPE_SETTINGS = ("dtype", "torch_dtype")


def estimate_safetensors(facts: ModelFacts, settings: Settings, hardware: Hardware) -> Estimate:
    """Bytes per device. `settings` are complete."""
    partial: list[str] = []
    shape = parts.shape_of(facts)
    if shape is None:
        partial.append("The configuration says too little of its dimensions: only its weights count.")
    quantised = _first(settings, _QUANT_SETTINGS) not in _UNQUANTISED
    weights, kept, each = _weights(facts, settings, partial)
    context = parts.number(settings, "context", 0)
    tokens = context or min(facts.context_length or TYPICAL_TOKENS, TYPICAL_TOKENS)
    cache = buffers = 0
    if shape is not None:
        row = (shape.keys + shape.values) * each
        layers = shape.full_layers + shape.window_layers  # windows are kept whole (loaders/hf/cache.py)
        cache = int(row * layers * tokens * GROWN) + parts.states(facts, shape, {"parallel": 1})
        chunk = min(tokens, parts.number(settings, "batch_size", 0) or BATCH)
        scores = shape.heads * tokens
        buffers = int(chunk * each * (4 * shape.hidden + 3 * shape.ff + 2 * shape.queries + scores))
        buffers += 8 * shape.vocabulary
        partial.append(f"The KV cache grows with the chat: it is counted with {tokens:,} tokens.")
    if each == 2.0 and not quantised and not _devices(settings, hardware):
        # PyTorch's bfloat16 product (oneDNN) reorders the whole output matrix for each call: most of a small Gemma,
        # whose 262,144 words weigh more than its layers. Measured: 336 MB more at the peak for 262,144 x 640.
        output = parts.integer(facts, "output_bytes") or parts.integer(facts, "embedding_bytes")
        buffers += int(output * weights / max(1, facts.weights or facts.size))
    weights += parts.integer(facts, "companion_bytes")
    if quantised and not _devices(settings, hardware):
        buffers += QUANTISER_BYTES + EIGHT_BIT_BYTES * ("8" in _first(settings, _QUANT_SETTINGS))
        if not _converted(facts, settings):  # the embeddings are its pages, so what was read of it stays mapped
            weights += (facts.weights or facts.size) - kept
            if parts.integer(facts, "output_bytes"):  # of a table of embeddings only the rows that were used are read
                weights -= parts.integer(facts, "embedding_bytes")
            partial.append("The pages of the original file are counted; they go when other programs need room.")
    shares, said = _placed(weights, kept, cache, buffers, settings, hardware)
    verdict = judged(shares, hardware)
    return Estimate(shares, verdict.value, f"{said}{verdict.why}", tuple(partial), lead=said)


def _weights(facts: ModelFacts, settings: Settings, partial: list[str]) -> tuple[int, int, float]:
    """(bytes loaded, bytes of them outside the layers, bytes of one number that is computed with)."""
    stored = facts.weights or facts.size
    dtype = _first(settings, _DTYPE_SETTINGS)
    own = _DTYPE_BYTES.get(facts.quant.lower(), 0.0)
    if facts.format == "gguf" and facts.parameters:  # every weight is unpacked
        stored, own = int(4 * facts.parameters), 4.0
    each = _DTYPE_BYTES.get(dtype, own or 2.0)
    quant = _first(settings, _QUANT_SETTINGS)
    outside = parts.integer(facts, "embedding_bytes") + parts.integer(facts, "output_bytes")
    if facts.format == "gguf":
        matrices = 2 if parts.integer(facts, "output_bytes") else 1
        outside = int(own * (facts.vocabulary or 0) * (facts.hidden or 0) * matrices)
    if facts.parameters and own and quant not in _UNQUANTISED:
        ratio = next((size for word, size in _QUANT_BYTES if word in quant.replace("-", "").replace("_", "")), None)
        if ratio is None:
            partial.append(f"How much {quant} saves is not known; the weights are counted as they are.")
        else:
            kept = outside * each / own  # embeddings and output are not quantised
            return int((stored - outside) / own * ratio + kept), int(kept), each
    if own and dtype in _DTYPE_BYTES:
        return int(stored / own * each), int(outside / own * each), each
    return stored, outside, each


def _converted(facts: ModelFacts, settings: Settings) -> bool:
    """Whether a processor computes with another number type than the files have (loaders/hf/device_map.py)."""
    stored, dtype = (_short(name) for name in (facts.quant, _first(settings, _DTYPE_SETTINGS)))
    return stored == "f16" if dtype in ("", "auto") else stored != dtype


def _short(dtype: str) -> str:
    """bfloat16, BF16 → bf16; float32, fp32, F32 → f32."""
    return dtype.lower().replace("float", "f").replace("fp", "f")


def _first(settings: Settings, names: tuple[str, ...]) -> str:
    for name in names:
        if isinstance(value := settings.get(name), str) and value:
            return value.lower()
    return ""


def _placed(
    weights: int, outside: int, cache: int, buffers: int, settings: Settings, hardware: Hardware
) -> tuple[tuple[Share, ...], str]:
    devices = _devices(settings, hardware)
    if not devices:
        return (Share("cpu", weights, cache, buffers, ENGINE_BYTES),), ""
    shares: list[Share] = []
    left, total = weights, max(1, weights)
    for device in devices:
        room = left
        if device.free is not None and _spread(settings):
            room = int(device.free * (1 - KEPT_FREE)) - CARD_BYTES - cache - buffers
        mine = max(0, min(left, room))
        if mine:
            own = CARD_BYTES if device.kind == CUDA else CARD_BYTES // 4
            shares.append(Share(device_name(device), mine, int(cache * mine / total), buffers, own))
        left -= mine
    where = devices[0].name if len(devices) == 1 else f"{len(devices)} devices"
    rest = Share("cpu", left, int(cache * left / total), buffers if left else 0, ENGINE_BYTES)
    if not left:
        return (rest, *shares), f"All of it goes to {where}. "
    fit = f"{amount(weights - left)} of the weights fit on {where}"
    return (rest, *shares), f"{fit}; {amount(left)} stay in main memory, which is slow. "


def _devices(settings: Settings, hardware: Hardware) -> tuple[Device, ...]:
    """Where the weights go; () = the processor. Without spreading it is one device, whether it has room or not."""
    kinds = _KINDS.get(str(settings.get("device", "auto")), ())
    found = next((devices for kind in kinds if (devices := hardware.of_kind(kind))), ())
    return found if _spread(settings) else found[:1]


def _spread(settings: Settings) -> bool:
    asked = settings.get("max_memory") or settings.get("disk_offload")
    return settings.get("device_map", "off") != "off" or bool(asked)

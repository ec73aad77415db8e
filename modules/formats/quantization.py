"""Which quantisation a safetensors model has: from its config, and from its tensors where that lies or is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.formats.safetensors import Mark

PLAIN = "safetensors"
_SAME = {
    "gptq_marlin": "gptq",
    "awq_marlin": "awq",
    "fbgemm_fp8": "fp8",
    "finegrained_fp8": "fp8",
    "exllama": "exl2",
    "compressed_tensors": "compressed-tensors",
    "bnb": "bitsandbytes",
    "autoround": "auto-round",
}
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
# Names of tensors → format, in the order in which they are looked at.
_TELLING: tuple[tuple[str, str], ...] = (
    ("trellis", "exl3"), ("q_weight", "exl2"), ("weight_packed", "compressed-tensors"), ("W_q", "hqq"),
    ("quant_state.bitsandbytes__nf4", "bitsandbytes"), ("quant_state.bitsandbytes__fp4", "bitsandbytes"),
    ("SCB", "bitsandbytes"),
)  # fmt: skip
_BNB_OWN = ("absmax", "quant_map")
_CHECKED = frozenset({"gptq", "awq", "exl2", "exl3", "bitsandbytes"})
"""Formats whose tensors cannot look like plain ones."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """`format` for ModelFacts, `words` for people, bits per weight.

    conflict  the method that config.json states though the weights are plain; "" = none
    """

    format: str
    words: str = ""
    bits: float | None = None
    conflict: str = ""


def quantization(
    config: Mapping[str, Any], more: Mapping[str, Any], marks: Mapping[str, Mark], elements: Mapping[str, int]
) -> Quantization:
    """What the weights are stored as.

    Args:
        config: config.json
        more: quantize_config.json, quant_config.json or hf_quant_config.json, {} where there is none
        marks, elements: of all tensors
    """
    stated = _stated(config, more)
    seen = _seen(marks, elements)
    if stated is None:
        if seen in (PLAIN, ""):
            return Quantization(PLAIN, _dtype(config, elements), None)
        return Quantization(seen, _words(seen, {}, marks), _bits(seen, {}, marks))
    method, values = stated
    if marks or elements:
        if seen in _CHECKED and method in _CHECKED and seen != method and {seen, method} != {"gptq", "awq"}:
            return Quantization(seen, _words(seen, {}, marks), _bits(seen, {}, marks))
        if method in _CHECKED and seen == PLAIN and not set(elements) & {"I8", "U8", "I32", "U32", "I16"}:
            return Quantization(
                method,
                _words(method, values, marks),
                _bits(method, values, marks),
                method,
            )
    return Quantization(method, _words(method, values, marks), _bits(method, values, marks))


def _stated(config: Mapping[str, Any], more: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The method the maker names, with its values."""
    text = config.get("text_config")
    for holder in (config, text if isinstance(text, dict) else {}):
        found = holder.get("quantization_config") or holder.get("compression_config")
        if isinstance(found, dict):
            method = str(found.get("quant_method") or found.get("quantization_method") or "").lower()[:40]
            if not method:
                method = "bitsandbytes" if found.get("load_in_4bit") or found.get("load_in_8bit") else "gptq"
            return _SAME.get(method, method), found
    mlx = config.get("quantization")
    if isinstance(mlx, dict) and isinstance(mlx.get("bits"), int):
        return "mlx", mlx
    inner = more.get("quantization")
    if isinstance(inner, dict) and inner.get("quant_algo"):  # hf_quant_config.json of TensorRT Model Optimizer
        return "modelopt", inner
    if isinstance(more.get("bits"), int) or isinstance(more.get("w_bit"), int):
        return ("awq" if "w_bit" in more or more.get("version") in ("GEMM", "GEMV") else "gptq"), more
    return None


def _seen(marks: Mapping[str, Mark], elements: Mapping[str, int]) -> str:
    """The format the tensors show; "" when there are none."""
    for mark, name in _TELLING:
        if mark in marks:
            return name
    if "qweight" in marks:
        return _gptq_or_awq(marks)
    if any(name.startswith("F8_E") and name != "F8_E8M0" for name in elements):
        return "fp8"
    if "_blocks" in marks and "_scales" in marks:
        return "mxfp4"
    if "scales" in marks and "biases" in marks and "U32" in elements:
        return "mlx"
    return PLAIN if elements else ""


def _gptq_or_awq(marks: Mapping[str, Mark]) -> str:
    """GPTQ packs eight rows into one, AWQ eight columns: their scales have as many columns as there are."""
    packed, scales = marks["qweight"].shape, marks["scales"].shape if "scales" in marks else ()
    if len(packed) == 2 and len(scales) == 2 and packed[1] and scales[1] != packed[1]:
        return "awq"
    return "gptq" if "g_idx" in marks or len(scales) == 2 else "awq"


def _number(values: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        value = values.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 64:
            return float(value)
    return None


def _bits(method: str, values: Mapping[str, Any], marks: Mapping[str, Mark]) -> float | None:
    if method == "bitsandbytes":
        four = values.get("load_in_4bit") or any(mark.startswith("quant_state") for mark in marks)
        return 4.0 if four else 8.0
    if method in ("mxfp4", "nvfp4"):
        return 4.25 if method == "mxfp4" else 4.5
    if method in ("fp8", "mxfp8"):
        return 8.0
    if method == "exl3" and "trellis" in marks and len(marks["trellis"].shape) == 3 and not values:
        return marks["trellis"].shape[2] / 16
    found = _number(values, "bits", "w_bit", "nbits", "weight_bits")
    groups = values.get("config_groups")
    if found is None and isinstance(groups, dict):
        weights = [one.get("weights") for one in groups.values() if isinstance(one, dict)]
        found = next((_number(one, "num_bits") for one in weights if isinstance(one, dict)), None)
    return found


def _words(method: str, values: Mapping[str, Any], marks: Mapping[str, Mark]) -> str:
    """The quantisation as people know it."""
    bits = _bits(method, values, marks)
    if method in ("exl2", "exl3"):
        return f"{method.upper()} {bits:g} bpw" if bits else method.upper()
    if method == "bitsandbytes":
        kind = values.get("bnb_4bit_quant_type")
        if bits == 8:
            return "int8"
        return str(kind) if kind in ("nf4", "fp4") else "fp4" if "quant_state.bitsandbytes__fp4" in marks else "nf4"
    if method == "modelopt":
        return str(values.get("quant_algo", ""))[:40] or "modelopt"
    name = {"gptq": "GPTQ", "awq": "AWQ", "fp8": "FP8", "hqq": "HQQ", "mxfp4": "MXFP4", "mlx": "MLX"}.get(
        method, method
    )
    if not bits or method in ("fp8", "mxfp4"):
        return name
    size = values.get("group_size", values.get("q_group_size"))
    return f"{name} {bits:g} bit" + (f", groups of {size}" if isinstance(size, int) and size > 0 else "")


def _dtype(config: Mapping[str, Any], elements: Mapping[str, int]) -> str:
    """The type most weights have; what config.json says where there are none."""
    if elements:
        most = max(elements, key=lambda name: elements[name])
        return _DTYPES.get(most, most.lower())
    said = config.get("torch_dtype", config.get("dtype"))
    return said.removeprefix("torch.")[:32] if isinstance(said, str) else ""


def parameters(format_: str, bits: float | None, marks: Mapping[str, Mark], elements: Mapping[str, int]) -> int | None:
    """Weights as the model has them, not as they are packed. None where that cannot be told."""
    total = sum(elements.values())
    packed = next((marks[name] for name in ("qweight", "weight_packed") if name in marks), None)
    if format_ in ("gptq", "awq", "compressed-tensors", "auto-round") and packed is not None:
        if not bits:
            return None
        aside = sum(
            marks[name].elements
            for name in ("qzeros", "scales", "g_idx", "weight_scale", "weight_shape")
            if name in marks
        )
        return total - aside - packed.elements + round(packed.elements * 32 / bits)
    if format_ == "bitsandbytes" and bits == 4:
        own = [mark for name, mark in marks.items() if name.startswith("quant_state") or name.endswith(_BNB_OWN)]
        bytes_own = sum(mark.elements for mark in own if mark.dtype == "U8")
        packed_bytes = max(0, elements.get("U8", 0) - bytes_own)  # two weights in each
        return total - sum(mark.elements for mark in own) + packed_bytes
    if format_ == "bitsandbytes" and "SCB" in marks:
        return total - marks["SCB"].elements - elements.get("U8", 0)
    if format_ == "mxfp4" and "_blocks" in marks and "_scales" in marks:
        return total - marks["_scales"].elements + marks["_blocks"].elements
    if format_ == "exl3" and "trellis" in marks and bits:
        return total - marks["trellis"].elements + round(marks["trellis"].elements * 16 / bits)
    if format_ in (PLAIN, "fp8"):
        return total - (marks["weight_scale_inv"].elements if "weight_scale_inv" in marks else 0)
    return None

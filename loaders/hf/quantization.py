"""Weights made smaller while loading, and models that come quantised: what each way needs, asked before it is tried.

The library refuses some of this only after it has read the weights; here it is refused within seconds, with what to
do instead.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizer_hqq import HqqHfQuantizer

from loaders.text.quantization_needs import PIP_NAMES, READY_MADE, Need
from modules.errors import LoadFailed
from modules.types import ParamValue

WHILE_LOADING: Mapping[str, Need] = {
    "bnb-8bit": Need(("bitsandbytes",)),
    "bnb-nf4": Need(("bitsandbytes",)),
    "bnb-fp4": Need(("bitsandbytes",)),
    "torchao-int8": Need(("torchao",)),
    "torchao-int4": Need(("torchao",), ("cuda", "xpu")),
    "hqq-4bit": Need(("hqq",)),
    "hqq-8bit": Need(("hqq",)),
}


def ready_made(config: Mapping[str, Any]) -> str:
    """How a model's files are quantised already, in the library's words; "" when they are not."""
    quant = config.get("quantization_config") or {}
    return str(quant.get("quant_method", "")) if isinstance(quant, Mapping) else ""


def check_ready_made(method: str, device: torch.device) -> None:
    """Refuse a quantised model that cannot run here. Raises LoadFailed."""
    if method == "hqq":
        _check_hqq()
    if method in READY_MADE:
        _check(READY_MADE[method], f"This model is quantised with {method}", device)
    _quiet()


def while_loading(settings: Mapping[str, ParamValue], method: str, dtype: torch.dtype, device: torch.device) -> Any:
    """The library's configuration for the chosen way, None for none. Raises LoadFailed."""
    wanted = str(settings["quantization"])
    if wanted == "none":
        return None
    if method:
        raise LoadFailed(f"This model is quantised already ({method}); it cannot be quantised as {wanted} on top.",
                         hint="Set quantization to none, or take the original model.")  # fmt: skip
    if wanted.startswith("hqq"):
        _check_hqq()
    _check(WHILE_LOADING[wanted], f"Quantising as {wanted}", device)
    if wanted.startswith("bnb"):
        compute = torch.bfloat16 if dtype == torch.float32 and device.type != "cpu" else dtype
        if wanted == "bnb-8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=wanted.removeprefix("bnb-"), bnb_4bit_compute_dtype=compute,
            bnb_4bit_use_double_quant=bool(settings["double_quantization"]),
        )  # fmt: skip
    if wanted.startswith("torchao"):
        return _torchao(wanted)
    from transformers import HqqConfig

    return HqqConfig(nbits=int(wanted[4]))


def _torchao(wanted: str) -> Any:
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig() if wanted == "torchao-int8" else Int4WeightOnlyConfig())


def _quiet() -> None:
    """bitsandbytes warns of a cast for every layer of every token; one such line a token fills the log."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _check(need: Need, what: str, device: torch.device) -> None:
    if need.devices and device.type not in need.devices:
        raise LoadFailed(f"{what} needs a {' or '.join(need.devices)} device; this would run on {device.type}.",
                         hint="Choose another way to quantise, or another device.")  # fmt: skip
    missing = [PIP_NAMES.get(name, name) for name in need.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise LoadFailed(
            f"{what} needs a package that is not installed: {', '.join(missing)}.",
            hint=f"Install it into the program's environment: pip install {' '.join(missing)}",
            code="package_missing",
        )


def _check_hqq() -> None:
    """Transformers 5 cannot make or read HQQ weights yet; the day it can, it brings these methods."""
    if HqqHfQuantizer.get_quantize_ops is HfQuantizer.get_quantize_ops:
        raise LoadFailed("Transformers 5 does not offer HQQ yet.",
                         hint="Take bnb-nf4 or bnb-8bit, or a GGUF of this model.")  # fmt: skip

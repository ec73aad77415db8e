"""Facts and machines for the estimates' tests."""

from __future__ import annotations

from typing import Any

from modules.formats.facts import ModelFacts
from modules.hardware.values import Device, Hardware

MB, GB = 1 << 20, 1 << 30
AVX2 = ("avx2", "fma", "f16c")


def smol(**more: Any) -> ModelFacts:
    """SmolLM2-135M as its GGUF header tells it."""
    extra = {"feed_forward": 1536, "key_length": 64, "value_length": 64, "embedding_bytes": 30 * MB,
             "output_bytes": 0, "block_bytes": (2 * MB,) * 30} | more.pop("extra", {})  # fmt: skip
    usual = {
        "arch": "llama", "quant": "Q4_1", "size": 98_362_432, "weights": 92 * MB, "parameters": 134_515_008,
        "context_length": 8192, "layers": 30, "hidden": 576, "heads": 9, "kv_heads": 3, "head_dim": 64,
        "vocabulary": 49152, "kv_layers": 30,
    }  # fmt: skip
    return ModelFacts("gguf", extra=extra, **(usual | more))


def big(**more: Any) -> ModelFacts:
    """A model of 32 layers and 16 GB."""
    extra = {"feed_forward": 14336, "key_length": 128, "value_length": 128, "embedding_bytes": 1 * GB,
             "output_bytes": 1 * GB, "block_bytes": (448 * MB,) * 32} | more.pop("extra", {})  # fmt: skip
    usual = {"arch": "llama", "quant": "F16", "size": 16 * GB, "weights": 16 * GB, "context_length": 131072,
             "layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "vocabulary": 128256,
             "kv_layers": 32}  # fmt: skip
    return ModelFacts("gguf", extra=extra, **(usual | more))


def machine(free: int = 20 * GB, total: int = 24 * GB, cards: tuple[int, ...] = ()) -> Hardware:
    """A machine with NVIDIA cards that have so many bytes free."""
    devices = tuple(Device("cuda", at, f"Card {at}", 80 * GB, size, "9.0") for at, size in enumerate(cards))
    return Hardware(8, total, free, devices, AVX2)

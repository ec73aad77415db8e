"""What a model's folder says, as far as starting a server for it needs to know: bounded reads of its JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loaders.base import Feature, LoadRequest, NamedFile
from modules.errors import LoadFailed

MOST = 4 * 1024 * 1024
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""LoRA ranks servers are built for."""


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file, {} when there is none."""
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read(MOST))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def lacking(folder: str) -> frozenset[Feature]:
    """What a model that writes text does not have: embeddings, and images without a part that sees."""
    config = read_json(Path(folder) / "config.json")
    sees = "vision_config" in config or "vision_tower" in config or "visual" in config
    return frozenset({Feature.EMBEDDINGS} if sees else {Feature.EMBEDDINGS, Feature.VISION})


def trained_context(folder: str) -> int:
    """Tokens the model was made for, 0 when its folder does not say."""
    config = read_json(Path(folder) / "config.json")
    text = config.get("text_config")
    value = config.get("max_position_embeddings") or (text or {}).get("max_position_embeddings")
    return value if isinstance(value, int) else 0


def adapter_rank(adapters: Sequence[NamedFile]) -> int:
    """The smallest rank servers are built for that holds every adapter."""
    ranks = [read_json(Path(one.path) / "adapter_config.json").get("r") for one in adapters]
    largest = max((rank for rank in ranks if isinstance(rank, int)), default=RANKS[1])
    return next((rank for rank in RANKS if rank >= largest), RANKS[-1])


def adapters_of(request: LoadRequest, setting: str = "lora") -> tuple[NamedFile, ...]:
    """The adapters that are to be loaded. Raises LoadFailed for what a server cannot do with them."""
    named = tuple(request.files.get(setting, ()))
    for one in named:
        if not (Path(one.path) / "adapter_config.json").is_file():
            raise LoadFailed(f"The adapter {one.name} is not a PEFT folder.",
                             hint="It needs adapter_config.json and adapter_model.safetensors.")  # fmt: skip
        if one.scale != 1.0:
            raise LoadFailed(f"The adapter {one.name} was given the scale {one.scale:g}.",
                             hint="This server uses adapters at full strength only: leave the scale out.")  # fmt: skip
        if "=" in one.name or "," in one.name:
            raise LoadFailed(f"The adapter's name {one.name} holds = or a comma.", hint="Rename its folder.")
    return named


def integer(request: LoadRequest, name: str) -> int:
    """A setting that is a whole number."""
    value = request.settings[name]
    return int(value) if isinstance(value, (int, float)) else 0


def number(request: LoadRequest, name: str) -> float:
    """A setting that is a number."""
    value = request.settings[name]
    return float(value) if isinstance(value, (int, float)) else 0.0


def text(request: LoadRequest, name: str) -> str:
    """A setting that is a word."""
    return str(request.settings[name])

"""A PEFT adapter: a folder with adapter_config.json and small weights that go on top of another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modules.formats.auxiliary_reasons import COMPANION_WORDS
from modules.formats.facts import ModelFacts
from modules.formats.hf_config import Extra
from modules.formats.loose_safetensors import all_marks, read_all
from modules.formats.pickle_weights import DANGER, WAY_OUT
from modules.formats.plain_json import JsonError, read_json
from modules.formats.safetensors import SafetensorsError
from modules.formats.weights import merged

CONFIG = "adapter_config.json"
REASON, HINT = COMPANION_WORDS["adapter"]


def adapter_facts(folder: Path, weights: Sequence[Path], pickles: Sequence[Path]) -> ModelFacts:
    """Facts of the adapter in `folder`. `reason` is REASON where nothing else speaks against it."""
    try:
        config = read_json(folder / CONFIG)
        headers = read_all(weights)
    except (JsonError, SafetensorsError) as error:
        unreadable = {"unreadable": True} if isinstance(error.__cause__, OSError) else {}
        return ModelFacts("safetensors", "adapter", reason=error.message, hint=error.hint, extra=unreadable)
    method = _text(config, "peft_type").upper() or "LORA"
    base = _text(config, "base_model_name_or_path")
    if not weights:
        if pickles:
            return ModelFacts("pickle", "adapter", base=base, size=_sizes(pickles), reason=DANGER, hint=WAY_OUT)
        return ModelFacts(
            "safetensors",
            "adapter",
            base=base,
            reason="The weights of this adapter are missing.",
            hint="adapter_model.safetensors belongs into the same folder.",
        )
    marks, elements = all_marks(headers)
    groups = merged(header.groups for header in headers)
    extra = _extra(config, groups.widths, max(groups.blocks, default=-1) + 1)
    return ModelFacts(
        "safetensors", "adapter", quant=method, name=folder.name, size=sum(header.size for header in headers),
        weights=groups.total, parameters=sum(elements.values()), base=base, extra=extra,
        reason=REASON if method in ("LORA", "DORA") or "lora_A" in marks else
        f"This is an adapter of the kind {method}, which goes on top of another model; only LoRA is used here.",
        hint=HINT if "lora_A" in marks else "",
    )  # fmt: skip


def _extra(config: dict[str, Any], widths: frozenset[int], blocks: int) -> Extra:
    extra: Extra = {"widths": tuple(sorted(widths)), "lora": True}
    rank = config.get("r")
    if isinstance(rank, int) and not isinstance(rank, bool):
        extra["rank"] = rank
    if blocks:
        extra["blocks"] = blocks
    return extra


def _text(config: dict[str, Any], name: str) -> str:
    value = config.get(name)
    return value[:300] if isinstance(value, str) else ""


def _sizes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)

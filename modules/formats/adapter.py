"""A PEFT adapter: a folder with adapter_config.json and small weights that go on top of another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modules.formats.facts import ModelFacts
from modules.formats.hf_config import Extra
from modules.formats.loose_safetensors import all_marks, read_all
from modules.formats.plain_json import read_json
from modules.formats.problems import ModelFileError, Problem, Reason
from modules.formats.weights import merged

CONFIG = "adapter_config.json"


def adapter_facts(folder: Path, weights: Sequence[Path], pickles: Sequence[Path]) -> ModelFacts:
    """Facts of the adapter in `folder`. `problem` is Reason.ADAPTER where nothing else speaks against it."""
    try:
        config = read_json(folder / CONFIG)
        headers = read_all(weights)
    except ModelFileError as error:
        unreadable = {"unreadable": True} if error.unreadable else {}
        return ModelFacts("safetensors", "adapter", problem=error.problem, extra=unreadable)
    method = _text(config, "peft_type").upper() or "LORA"
    base = _text(config, "base_model_name_or_path")
    if not weights:
        if pickles:
            return ModelFacts("pickle", "adapter", base=base, size=_sizes(pickles), problem=Problem.of(Reason.PICKLE))
        return ModelFacts(
            "safetensors",
            "adapter",
            base=base,
            problem=Problem.of(Reason.ADAPTER_NO_WEIGHTS),
        )
    marks, elements = all_marks(headers)
    groups = merged(header.groups for header in headers)
    extra = _extra(config, groups.widths, max(groups.blocks, default=-1) + 1)
    return ModelFacts(
        "safetensors", "adapter", quant=method, name=folder.name, size=sum(header.size for header in headers),
        weights=groups.total, parameters=sum(elements.values()), base=base, extra=extra,
        problem=Problem.of(Reason.ADAPTER) if method in ("LORA", "DORA") or "lora_A" in marks else
        Problem.of(Reason.ADAPTER_KIND, method=method),
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

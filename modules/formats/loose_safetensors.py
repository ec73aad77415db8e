"""A safetensors file by itself, or all parts of one, without the folder of a model around it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from modules.formats.facts import ModelFacts
from modules.formats.problems import Problem, Reason, named_parts
from modules.formats.quantization import parameters, quantization
from modules.formats.safetensors import Mark, SafetensorsError, SafetensorsHeader, read_safetensors
from modules.formats.weights import merged

_NUMBER = re.compile(r"-(\d{5})-of-(\d{5})\.")
_IMAGE = (
    "model.diffusion_model",
    "first_stage_model",
    "double_blocks",
    "single_blocks",
    "joint_blocks",
    "down_blocks",
    "up_blocks",
    "transformer_blocks",
    "cond_stage_model",
    "decoder.up",
    "conditioner",
    "control_model",
)
_ADAPTER = ("lora_A", "lora_B", "lora_up", "lora_down", "hada_w", "oft_", "ia3_", "lokr_", "lora_magnitude_vector")


def read_all(paths: Sequence[Path]) -> list[SafetensorsHeader]:
    """The headers of all parts. Raises SafetensorsError, which names the part where there are several."""
    headers = []
    for path in paths:
        try:
            headers.append(read_safetensors(path))
        except SafetensorsError as error:
            if len(paths) > 1 and not error.unreadable:
                raise SafetensorsError(Problem.of(Reason.IN_PART, part=path.name, inner=error.problem)) from error
            raise
    return headers


def all_marks(headers: Sequence[SafetensorsHeader]) -> tuple[dict[str, Mark], dict[str, int]]:
    """Marks and elements by dtype of all parts together."""
    marks: dict[str, Mark] = {}
    elements: dict[str, int] = {}
    for header in headers:
        for name, mark in header.marks.items():
            old = marks.get(name)
            marks[name] = (
                mark
                if old is None
                else Mark(old.count + mark.count, old.elements + mark.elements, old.dtype, old.shape)
            )
        for dtype, count in header.elements.items():
            elements[dtype] = elements.get(dtype, 0) + count
    return marks, elements


def loose_facts(path: Path, parts: Sequence[Path] = ()) -> ModelFacts:
    """What the file is. It never runs by itself; what it is decides what is said."""
    try:
        headers = read_all(parts or (path,))
    except SafetensorsError as error:
        extra = {"unreadable": True} if error.unreadable else {}
        return ModelFacts("safetensors", problem=error.problem, extra=extra)
    marks, elements = all_marks(headers)
    size = sum(header.size for header in headers)
    found = quantization({}, {}, marks, elements)
    kind, problem = _kind(headers[0], marks)
    groups = merged(header.groups for header in headers)
    if kind == "model" and (lacking := _missing(parts or (path,))):
        problem = Problem.of(Reason.LONE_PARTS, lacking=named_parts(lacking))
    blocks = max(groups.blocks, default=-1) + 1
    return ModelFacts(
        found.format if kind == "model" else "safetensors", kind, quant=found.words, size=size,
        weights=groups.total, parameters=parameters(found.format, found.bits, marks, elements),
        layers=blocks or None, problem=problem, extra=groups.extra() if kind == "model" else {},
    )  # fmt: skip


def _missing(parts: Sequence[Path]) -> list[int]:
    """Numbers of the parts that are not there, from the names of those that are."""
    matches = [match for part in parts if (match := _NUMBER.search(part.name))]
    if not matches:
        return []
    there = {int(match[1]) for match in matches}
    return [number for number in range(1, min(int(matches[0][2]), 1000) + 1) if number not in there]


def _kind(header: SafetensorsHeader, marks: Mapping[str, Mark]) -> tuple[str, Problem]:
    """What the tensors are of, and why they do not run."""
    made_for = header.metadata.get("ss_base_model_version", "")
    if any(name.startswith("lora_unet") for name in marks) or made_for.startswith(("sd", "flux")):
        return "image", Problem.of(Reason.PICTURES_ADAPTER)
    if any(name in marks for name in _ADAPTER):
        return "adapter", Problem.of(Reason.ADAPTER_NO_CONFIG)
    if any(name in marks for name in _IMAGE):
        return "image", Problem.of(Reason.PICTURES)
    if not header.tensors:
        return "other", Problem.of(Reason.NO_WEIGHTS_IN_FILE)
    return "model", Problem.of(Reason.LONE_WEIGHTS)

"""Whether anything here opens a model: its own faults, the loaders of this version, and which of them are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loaders.base import Feature, LoaderSpec
from modules.formats.auxiliary_reasons import COMPANION_WORDS
from modules.formats.facts import ModelFacts
from modules.formats.pickle_weights import DANGER

FORMATS = {"gguf": "GGUF", "safetensors": "safetensors", "gptq": "GPTQ", "awq": "AWQ", "fp8": "FP8", "exl2": "EXL2",
           "exl3": "EXL3", "hqq": "HQQ", "onnx": "ONNX", "mlx": "MLX", "tensorrt-llm": "TensorRT-LLM"}  # fmt: skip
"""Formats as people write them, where that differs from the word of the catalogue."""
_PURPOSES = {"embedding": (Feature.EMBEDDINGS, "makes embeddings"), "reranker": (Feature.RERANK, "ranks documents")}
_NEVER = {"image": "It makes pictures, not text.", "speech": "It makes or hears speech; it writes no text.",
          "classifier": "It sorts texts into classes; it writes no text.", "other": "It writes no text.",
          "imatrix": "This is an importance matrix, a tool for quantising; it holds no model.",
          **{kind: reason for kind, (reason, _) in COMPANION_WORDS.items()}}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is why it cannot run, "" when it can. `installs` are the commands for loaders that are missing."""

    reason: str
    loaders: tuple[str, ...] = ()
    installs: Mapping[str, str] = field(default_factory=dict)


def verdict(facts: ModelFacts, specs: Sequence[LoaderSpec], here: Mapping[str, bool], allow_pickle: bool) -> Verdict:
    """The verdict on a model with these facts.

    Args:
        specs: the loaders that open its format, best first
        here: whether a loader is installed, by its name
        allow_pickle: whether the program was started with that
    """
    if facts.kind in _PURPOSES:
        feature, _ = _PURPOSES[facts.kind]
        specs = [spec for spec in specs if feature in spec.features]
    elif facts.kind in _NEVER:
        specs = ()
    names = tuple(spec.name for spec in specs)
    installs = {spec.name: install_command(spec) for spec in specs if not here.get(spec.name, False)}
    if facts.reason and not (allow_pickle and facts.format == "pickle" and facts.reason == DANGER):
        return Verdict(f"{facts.reason} {facts.hint}".strip(), names, installs)
    if facts.kind in _NEVER:
        return Verdict(_NEVER[facts.kind])
    return Verdict(_no_loader(facts, specs, installs), names, installs)


def install_command(spec: LoaderSpec) -> str:
    """The command that installs a loader's engine."""
    if spec.install:
        return spec.install
    return "python start.py" + ("" if spec.requirements == "base" else f" install {spec.requirements}")


def _no_loader(facts: ModelFacts, specs: Sequence[LoaderSpec], installs: Mapping[str, str]) -> str:
    """Why nothing here opens it; "" when a loader does."""
    fmt = FORMATS.get(facts.format, facts.format)
    if not specs and facts.kind in _PURPOSES:
        return f"It {_PURPOSES[facts.kind][1]}, and no loader of this version does that with {fmt} models."
    if not specs:
        hint = "" if facts.format in ("gguf", "endpoint") else " Get the model as GGUF."
        return f"No loader of this version opens {fmt} models.{hint}"
    if len(installs) < len(specs):
        return ""
    first = specs[0]
    return f"The loader {first.name} is not installed. Install it with: {installs[first.name]}"

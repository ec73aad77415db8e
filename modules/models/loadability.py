"""Whether anything here opens a model: its own faults, the loaders of this version, and which of them are installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loaders import is_importable
from loaders.base import Feature, LoaderSpec
from modules.formats.facts import ModelFacts
from modules.formats.problems import GOES_WITH_A_MODEL, Problem, Reason

FORMATS = {"gguf": "GGUF", "safetensors": "safetensors", "gptq": "GPTQ", "awq": "AWQ", "fp8": "FP8", "exl2": "EXL2",
           "exl3": "EXL3", "hqq": "HQQ", "onnx": "ONNX", "mlx": "MLX", "tensorrt-llm": "TensorRT-LLM"}  # fmt: skip
"""Formats as people write them, where that differs from the word of the catalogue."""
_PURPOSES = {"embedding": (Feature.EMBEDDINGS, "makes embeddings"), "reranker": (Feature.RERANK, "ranks documents")}
_NEVER: Mapping[str, Reason] = {
    "image": Reason.PICTURES, "speech": Reason.SPEECH, "classifier": Reason.CLASSIFIER, "other": Reason.OTHER,
    "imatrix": Reason.IMATRIX, **GOES_WITH_A_MODEL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problem` is why it cannot run, None when it can. `installs` are the commands for loaders that are missing."""

    problem: Problem | None
    loaders: tuple[str, ...] = ()
    installs: Mapping[str, str] = field(default_factory=dict)


def verdict(
    facts: ModelFacts, specs: Sequence[LoaderSpec], here: Mapping[str, bool], allow_pickle: bool,
    has_package: Callable[[str], bool] = is_importable,
) -> Verdict:  # fmt: skip
    """The verdict on a model with these facts.

    Args:
        specs: the loaders that open its format, best first
        here: whether a loader is installed, by its name
        allow_pickle: whether the program was started with that
        has_package: whether a Python package is installed, for what a loader needs for one format only
    """
    if facts.kind in _PURPOSES:
        feature, _ = _PURPOSES[facts.kind]
        specs = [spec for spec in specs if feature in spec.features]
    elif facts.kind in _NEVER:
        specs = ()
    names = tuple(spec.name for spec in specs)
    lacking = {spec.name: _lacking(spec, facts.format, has_package) for spec in specs}
    installs = {
        spec.name: install_command(spec) if not here.get(spec.name, False) else _pip(lacking[spec.name])
        for spec in specs
        if not here.get(spec.name, False) or lacking[spec.name]
    }
    problem = facts.problem
    if problem is not None and not (allow_pickle and facts.format == "pickle" and problem.code is Reason.PICKLE):
        return Verdict(problem, names, installs)
    if facts.kind in _NEVER:
        return Verdict(Problem.of(_NEVER[facts.kind]))
    if len(installs) < len(specs):
        return Verdict(None, names, installs)
    ready = next((spec for spec in specs if here.get(spec.name, False)), None)
    if ready is not None:
        packages = lacking[ready.name]
        return Verdict(
            Problem.of(Reason.NO_PACKAGE, loader=ready.name, format=FORMATS.get(facts.format, facts.format),
                       package=", ".join(packages), command=_pip(packages)),
            names, installs,
        )  # fmt: skip
    return Verdict(_no_loader(facts, specs, installs), names, installs)


def _lacking(spec: LoaderSpec, fmt: str, has_package: Callable[[str], bool]) -> tuple[str, ...]:
    """What pip calls the packages that the loader needs for this format and that are not installed."""
    needs = spec.format_needs.get(fmt, {})
    return tuple(pip for module, pip in needs.items() if not has_package(module))


def _pip(packages: Sequence[str]) -> str:
    return "pip install " + " ".join(packages)


def install_command(spec: LoaderSpec) -> str:
    """The command that installs a loader's engine."""
    if spec.install:
        return spec.install
    return "python start.py" + ("" if spec.requirements == "base" else f" install {spec.requirements}")


def _no_loader(facts: ModelFacts, specs: Sequence[LoaderSpec], installs: Mapping[str, str]) -> Problem:
    """Why nothing here opens it."""
    fmt = FORMATS.get(facts.format, facts.format)
    if not specs and facts.kind in _PURPOSES:
        return Problem.of(Reason.NO_LOADER_FOR_PURPOSE, does=_PURPOSES[facts.kind][1], format=fmt)
    if not specs:
        other = "" if facts.format in ("gguf", "endpoint") else "Get the model as GGUF."
        return Problem.of(Reason.NO_LOADER, format=fmt, other=other)
    return Problem.of(Reason.NOT_INSTALLED, loader=specs[0].name, command=installs[specs[0].name])

"""Which loader opens a model on this machine, and why that one. Each refusal says what to install or to get instead."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loaders import Registry, installed
from loaders.base import LoaderSpec
from modules.errors import Unsupported
from modules.hardware.cpu import NEEDED_BY_LLAMA
from modules.hardware.values import Hardware
from modules.models.loadability import FORMATS, install_command
from modules.models.model_file import ModelFile
from modules.types import Decision

_KINDS = {"cuda": "an NVIDIA graphics card", "rocm": "an AMD graphics card with ROCm", "metal": "an Apple GPU",
          "xpu": "an Intel graphics card", "vulkan": "a graphics card with Vulkan", "cpu": "a processor"}  # fmt: skip
_INSTRUCTIONS = {"xllamacpp": NEEDED_BY_LLAMA}
"""What a ready-made engine for x86 processors was built with, by the module it is in: without it, it dies at once."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a loader cannot open a model here, and what would change that."""

    loader: str
    why: str
    remedy: str = ""


def pick_loader(
    model: ModelFile, hardware: Hardware, registry: Registry, is_installed: Callable[[LoaderSpec], bool] = installed
) -> Decision[LoaderSpec]:
    """The first loader for the model's format that is installed and runs on this machine.

    Raises: Unsupported (code "no_loader") with what to install, or which format to get.
    """
    if model.builtin:
        spec = registry.get(model.loaders[0])
        return Decision(spec, f"{model.name} is built into the loader {spec.name}.")
    refused: list[Refusal] = []
    ready: list[LoaderSpec] = []
    for name in model.loaders:
        spec = registry.get(name)
        problem = refusal(spec, hardware, is_installed)
        if problem is None and spec.name in model.installs:  # the loader is there, a package for this format is not
            remedy = f"Install it with: {model.installs[spec.name]}"
            problem = Refusal(spec.name, "a package for this format is not installed", remedy)
        if problem is None:
            ready.append(spec)
        else:
            refused.append(problem)
    if not ready:
        raise _none(model, refused)
    return Decision(ready[0], _why(model, ready, refused))


def refusal(
    spec: LoaderSpec, hardware: Hardware, is_installed: Callable[[LoaderSpec], bool] = installed
) -> Refusal | None:
    """Why this loader cannot run here; None when it can, as far as can be known."""
    if spec.hardware and "cpu" not in spec.hardware and not hardware.of_kind(*spec.hardware):
        needs = " or ".join(_KINDS.get(kind, kind) for kind in spec.hardware)
        if not (hardware.unknown and not hardware.devices):
            return Refusal(spec.name, f"it needs {needs}, and there is none")
        if not is_installed(spec):
            return Refusal(spec.name, f"it needs {needs}, which was not found, and it is not installed")
    if lacking := _lacking(spec, hardware):
        return Refusal(spec.name, f"this processor lacks {', '.join(lacking)}, which its ready-made build uses",
                       "Build the engine on this machine, or use a llama-server of your own.")  # fmt: skip
    if not is_installed(spec):
        return Refusal(spec.name, "it is not installed", f"Install it with: {install_command(spec)}")
    return None


def _lacking(spec: LoaderSpec, hardware: Hardware) -> tuple[str, ...]:
    """Instructions the loader's ready-made build needs and the processor has not; () where that cannot be known."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not hardware.cpu_features:
        return ()
    return tuple(name for name in _INSTRUCTIONS.get(spec.needs, ()) if name not in hardware.cpu_features)


def _why(model: ModelFile, ready: list[LoaderSpec], refused: Iterable[Refusal]) -> str:
    chosen, fmt = ready[0], FORMATS.get(model.format, model.format)
    not_here = "; ".join(f"{one.loader}: {one.why}" for one in refused)
    more = f" ({not_here})" if not_here else ""
    if len(ready) == 1:
        return f"{chosen.name} is the only loader here that opens {fmt} models{more}."
    others = ", ".join(spec.name for spec in ready[1:])
    return f"{chosen.name} comes first for {fmt} models; {others} could open it too{more}."


def _none(model: ModelFile, refused: list[Refusal]) -> Unsupported:
    fmt = FORMATS.get(model.format, model.format)
    if not refused:
        return Unsupported(f"No loader of this version opens {fmt} models, so {model.name} cannot be loaded.",
                           hint="Get the model as GGUF, which runs everywhere.", code="no_loader")  # fmt: skip
    reasons = "; ".join(f"{one.loader}: {one.why}" for one in refused)
    remedy = next((one.remedy for one in refused if one.remedy), "Get the model as GGUF, which runs everywhere.")
    return Unsupported(f"{model.name} cannot be loaded here. {reasons[0].upper()}{reasons[1:]}.", hint=remedy,
                       code="no_loader")  # fmt: skip

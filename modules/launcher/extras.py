"""`start.py install LOADER`: what each further loader needs on this machine, before its packages are installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.launcher.compiled import build_from_source
from modules.launcher.console import Console, StepFailed
from modules.launcher.installer import Installer
from modules.launcher.layout import Layout
from modules.launcher.machine import Machine
from modules.launcher.torch_build import choose_torch, install_torch


@dataclass(frozen=True, slots=True)
class Loader:
    """One loader. `torch` = needs PyTorch; `nvidia` = runs on NVIDIA GPUs only; `builds` = compiled at installation."""

    torch: bool = False
    nvidia: bool = False
    builds: bool = False


LOADERS: Mapping[str, Loader] = {
    "transformers": Loader(torch=True),
    "llama-cpp-python": Loader(builds=True),
    "exllamav2": Loader(torch=True, nvidia=True),
    "exllamav3": Loader(torch=True, nvidia=True),
}


def unfit(name: str, machine: Machine) -> str:
    """Why a loader cannot work on this machine, or ""."""
    if not LOADERS[name].nvidia:
        return ""
    if machine.system == "Darwin":
        return "it runs on NVIDIA GPUs only, and a Mac has none"
    if machine.nvidia_driver is None:
        return f"it runs on NVIDIA GPUs only, and {_seen_instead(machine)}"
    return ""


def _seen_instead(machine: Machine) -> str:
    if machine.nvidia_error:
        return f"nvidia-smi reports: {machine.nvidia_error}"
    if "nvidia" in machine.vendors:
        return "there is an NVIDIA GPU here, but no NVIDIA driver: install that first"
    names = {"amd": "AMD", "intel": "Intel"}
    others = [names[maker] for maker in sorted(machine.vendors & names.keys())]
    return (
        f"this machine has {' and '.join(others)} graphics"
        if others
        else "neither an NVIDIA driver nor a GPU was found here"
    )


def selected(names: tuple[str, ...], machine: Machine, *, force: bool, console: Console) -> list[str]:
    """The loaders to install. `all` leaves out, saying so, what cannot work here; a name asked for alone is refused."""
    if "all" in names:
        fitting = []
        for name in LOADERS:
            reason = "" if force else unfit(name, machine)
            if reason:
                console.say(f"Leaving out {name}: {reason}")
            else:
                fitting.append(name)
        return fitting
    for name in names:
        reason = unfit(name, machine)
        if reason and not force:
            hint = (
                f"install it all the same, with PyTorch for CUDA (about 3 GB): python3 start.py install {name} --force"
            )
            raise StepFailed(f"installing {name}", reason, hint=hint)
    return list(dict.fromkeys(names))


def install_loader(
    name: str, layout: Layout, installer: Installer, machine: Machine, console: Console, torch: str | None
) -> None:
    """Install one loader's requirements file with what it needs before. Raises StepFailed.

    torch  as in `choose_torch`; None = any build that is there already will do
    """
    loader = LOADERS[name]
    if loader.torch:
        # Only its CUDA build is of use to a loader for NVIDIA GPUs; without a driver we are here by force.
        asked = torch or ("cuda" if loader.nvidia else "")
        install_torch(installer, console, choose_torch(machine, asked), keep=torch is None, asked=bool(torch))
    if loader.nvidia and not _has_nvcc():
        console.say(
            f"Note: {name} compiles its CUDA code when it is first used, and no nvcc was found: "
            "install the CUDA toolkit before you load a model with it."
        )
    if loader.builds:
        build_from_source(name, layout.requirements(name), installer, machine, console)
    else:
        installer.install_file(layout.requirements(name))


def _has_nvcc() -> bool:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    return shutil.which("nvcc") is not None or (Path(home) / "bin" / "nvcc").exists()

"""`start.py install LOADER`: what each further loader needs on this machine, before its packages are installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.launcher.console import Console, StepFailed
from modules.launcher.installer import Installer
from modules.launcher.layout import Layout
from modules.launcher.machine import Machine
from modules.launcher.torch_build import choose_torch, install_torch

LLAMA_CPP_PYTHON_INDEX = "https://abetlen.github.io/llama-cpp-python/whl/cpu"


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
        return f"it runs on NVIDIA GPUs only, and {machine.nvidia_error or 'no NVIDIA driver was found here'}"
    return ""


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
            raise StepFailed(
                f"installing {name}", reason, hint=f"install it all the same: python3 start.py install {name} --force"
            )
    return list(dict.fromkeys(names))


def install_loader(
    name: str, layout: Layout, installer: Installer, machine: Machine, console: Console, torch: str
) -> None:
    """Install one loader's requirements file with what it needs before. Raises StepFailed."""
    loader = LOADERS[name]
    if loader.torch:
        install_torch(installer, console, choose_torch(machine, torch))
    if loader.nvidia and not _has_nvcc():
        console.say(
            f"Note: {name} compiles its CUDA code when it is first used, and no nvcc was found: "
            "install the CUDA toolkit before you load a model with it."
        )
    extra: list[str] = []
    if loader.builds and not _has_compiler():
        console.say(f"No C++ compiler was found, so {name} cannot be built here; looking for a ready-made build.")
        extra = ["--only-binary", name, "--extra-index-url", LLAMA_CPP_PYTHON_INDEX]
    elif loader.builds:
        console.say(f"{name} is compiled on this machine; that takes some minutes (CMAKE_ARGS is honoured).")
    installer.install_file(layout.requirements(name), extra=extra)


def _has_compiler() -> bool:
    names = ("cl", "clang++", "g++") if os.name == "nt" else ("c++", "g++", "clang++")
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), *names) if name)


def _has_nvcc() -> bool:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    return shutil.which("nvcc") is not None or (Path(home) / "bin" / "nvcc").exists()

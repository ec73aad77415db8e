"""Which build of PyTorch fits this machine, and why.

On Linux the default package index has PyTorch for CUDA, with about 3 GB of libraries; without an
NVIDIA GPU that is waste, and PyTorch's own index has a build for the processor. On Windows the
default index has the processor's build, on a Mac the one build for both processor and GPU.
Indexes: pytorch.org/get-started/locally.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modules.launcher.chosen import Chosen
from modules.launcher.console import Console, StepFailed
from modules.launcher.installer import Installer
from modules.launcher.machine import Machine

TORCH_INDEX = "https://download.pytorch.org/whl"
TORCH_NEEDED = "torch>=2.6,<3"
# Oldest driver (major) for the CUDA of PyTorch's current default build, and of its oldest kept build.
CURRENT_CUDA_DRIVER = 580
OLDEST_CUDA_DRIVER = 525
BUILDS = ("cpu", "cuda", "default")


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """`index` is the address of a wheel index, "" = the default package index."""

    name: str
    index: str


DEFAULT = TorchBuild("default", "")
CPU = TorchBuild("cpu", f"{TORCH_INDEX}/cpu")


def choose_torch(machine: Machine, asked: str) -> Chosen[TorchBuild]:
    """The build for this machine. `asked` is "", one of BUILDS, or the address of an index."""
    if asked.startswith(("http://", "https://", "file://")):
        return Chosen(TorchBuild("custom", asked), "you named its index")
    if asked and asked not in BUILDS:
        raise StepFailed("reading the command line", f"--torch {asked}: it takes {', '.join(BUILDS)} or an address")
    if asked == "default":
        return Chosen(DEFAULT, "you asked for it")
    if asked == "cpu":
        return Chosen(DEFAULT if machine.system == "Darwin" else CPU, "you asked for it")
    if machine.system == "Darwin":
        return Chosen(DEFAULT, "a Mac: the default build serves processor and GPU")
    if machine.nvidia_driver is not None or asked == "cuda":
        return _cuda(machine)
    if machine.system == "Windows":
        return Chosen(DEFAULT, "no NVIDIA driver: the default build for Windows runs on the processor")
    more = "; for ROCm name its index with --torch" if "amd" in machine.vendors else ""
    return Chosen(CPU, f"no NVIDIA driver: PyTorch's own build for the processor saves about 3 GB{more}")


def _cuda(machine: Machine) -> Chosen[TorchBuild]:
    if machine.nvidia_driver is None:
        return Chosen(DEFAULT, "you asked for it, though no NVIDIA driver was found")
    shown = ".".join(str(part) for part in machine.nvidia_driver)
    if machine.nvidia_driver[0] >= CURRENT_CUDA_DRIVER:
        if machine.system == "Windows":
            return Chosen(TorchBuild("cuda", f"{TORCH_INDEX}/cu130"), f"an NVIDIA GPU with driver {shown}")
        return Chosen(DEFAULT, f"an NVIDIA GPU with driver {shown}: the default build has CUDA")
    if machine.nvidia_driver[0] >= OLDEST_CUDA_DRIVER:
        return Chosen(TorchBuild("cuda", f"{TORCH_INDEX}/cu126"), f"the NVIDIA driver {shown} is for CUDA 12")
    return Chosen(CPU, f"the NVIDIA driver {shown} is too old for PyTorch's CUDA builds")


def install_torch(installer: Installer, console: Console, chosen: Chosen[TorchBuild]) -> None:
    """Install the build. Raises StepFailed where it is not to be had, rather than bring in 3 GB of the wrong one."""
    build = chosen.value
    console.say(f"PyTorch build: {build.name} ({chosen.why})")
    arguments, env = [TORCH_NEEDED], None
    if build.index:
        # The index is asked alone: elsewhere a newer version of another build would win.
        env = installer.nothing_but(build.index)
        if installer.versions("torch", "--index-url", build.index, env=env):
            arguments += ["--index-url", build.index]
        elif build is CPU:
            arguments, env = [f"torch=={_own_cpu_version(installer)}"], None
            console.say(f"  PyTorch's index does not answer; your package sources hold {arguments[0]}")
        else:
            raise StepFailed("installing PyTorch", f"its index {build.index} does not answer")
    ended = installer.pip_install(arguments, env=env)
    if ended.code != 0:
        raise StepFailed("installing PyTorch", f"pip ended with code {ended.code}", detail=ended.telling())
    answer = installer.python("import torch; print(torch.__version__, 'CUDA' if torch.cuda.is_available() else 'CPU')")
    console.say(f"  PyTorch is in: {answer.text.strip()}" if answer.ok else "Note: PyTorch does not load")


def _own_cpu_version(installer: Installer) -> str:
    """The newest processor build among the sources pip is set up with (a local folder, a mirror)."""
    for version in installer.versions("torch"):
        match = re.fullmatch(r"(\d+)\.(\d+)[^+]*\+cpu", version)
        if match and (int(match.group(1)), int(match.group(2))) >= (2, 6):
            return version
    raise StepFailed(
        "installing PyTorch",
        f"PyTorch's index {CPU.index} does not answer, and your package sources hold no build for the processor",
        hint="take the build with CUDA, about 3 GB: python3 start.py install transformers --torch default",
    )

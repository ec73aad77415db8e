"""Which build of PyTorch fits this machine, and why.

On Linux the default package index has PyTorch for CUDA, with about 3 GB of libraries; without an
NVIDIA GPU that is waste, and PyTorch's own index has a build for the processor. On Windows the
default index has the processor's build, on a Mac the one build for both processor and GPU.
Indexes: pytorch.org/get-started/locally.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.launcher.chosen import Chosen
from modules.launcher.console import Console, StepFailed, megabytes
from modules.launcher.installer import Installer
from modules.launcher.lock import LockState, lock_path, lock_state, locked, versions
from modules.launcher.machine import Machine

TORCH_INDEX = "https://download.pytorch.org/whl"
TORCH_NEEDED = "torch>=2.6,<3"
"""The line of requirements/torch.txt."""
VERSION_FILE = "torch-version.txt"
# Oldest driver (major) for the CUDA of PyTorch's current default build, and of its oldest kept build.
CURRENT_CUDA_DRIVER = 580
OLDEST_CUDA_DRIVER = 525
# Bytes on the disk, the download included: 2.15.0 with CUDA takes 5.2 GB installed, 2.13.0 without 0.8 GB.
ROOM_WITH_CUDA, ROOM_WITHOUT = 8_000_000_000, 1_500_000_000
BUILDS = ("cpu", "cuda", "default")


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """`index` is the address of a wheel index, "" = the default package index; `gpu` = it must not be a CPU build."""

    name: str
    index: str
    gpu: bool = False


DEFAULT = TorchBuild("default", "")
DEFAULT_WITH_CUDA = TorchBuild("default", "", gpu=True)
CPU = TorchBuild("cpu", f"{TORCH_INDEX}/cpu")


def choose_torch(machine: Machine, asked: str) -> Chosen[TorchBuild]:
    """The build for this machine. `asked` is "", one of BUILDS, or the address of an index."""
    if asked.startswith(("http://", "https://", "file://")):
        return Chosen(TorchBuild("custom", asked), "you named its index")
    if asked and asked not in BUILDS:
        raise StepFailed("reading the command line", f"--torch {asked}: it takes {', '.join(BUILDS)} or an address")
    if asked == "default":
        return Chosen(DEFAULT_WITH_CUDA if machine.system == "Linux" else DEFAULT, "you asked for it")
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
        why = "it was asked for, though no NVIDIA driver was found"
        return Chosen(_current_cuda(machine), why)
    shown = ".".join(str(part) for part in machine.nvidia_driver)
    if machine.nvidia_driver[0] >= CURRENT_CUDA_DRIVER:
        return Chosen(_current_cuda(machine), f"an NVIDIA GPU with driver {shown}")
    if machine.nvidia_driver[0] >= OLDEST_CUDA_DRIVER:
        return Chosen(TorchBuild("cuda", f"{TORCH_INDEX}/cu126", gpu=True), f"the NVIDIA driver {shown} is for CUDA 12")
    return Chosen(CPU, f"the NVIDIA driver {shown} is too old for PyTorch's CUDA builds")


def _current_cuda(machine: Machine) -> TorchBuild:
    """On Linux the default index has PyTorch with CUDA, on Windows without."""
    if machine.system == "Windows":
        return TorchBuild("cuda", f"{TORCH_INDEX}/cu130", gpu=True)
    return DEFAULT_WITH_CUDA


def install_torch(
    installer: Installer, console: Console, chosen: Chosen[TorchBuild], *, keep: bool = False, asked: bool = False
) -> None:
    """Install the build. Raises StepFailed where it is not to be had, rather than bring in 3 GB of the wrong one.

    keep   any build that is there and loads will do
    asked  the person has named this build: another one is replaced, not only one that lacks the GPU
    """
    build = chosen.value
    there = installed_build(installer)
    if there is not None and (keep or not _is_wrong(build, there, asked)):
        console.say(f"PyTorch is there already: {there.version} ({there.runs_on})")
        return
    console.say(f"PyTorch build: {build.name} ({chosen.why})")
    needed, free = ROOM_WITH_CUDA if build.gpu else ROOM_WITHOUT, installer.free_bytes()
    if free < needed:
        have = f"the disk has {megabytes(free)} free"
        raise StepFailed("installing PyTorch", f"{have} and this build needs about {megabytes(needed)}")
    arguments, env = _source(installer, console, build)
    if lock_state(installer.requirements("torch")) is LockState.CURRENT:
        installer.install_file(
            installer.requirements("torch")
        )  # what it needs, so that only its own files are fetched below
    if there is not None:
        console.say(f"  It takes the place of {there.version} ({there.runs_on}).")
        # Builds differ in the local part of the version at most, so pip would leave the old one in place.
        # Its dependencies come with the second call, which renews nothing that others rely on.
        _pip_install(installer, [*arguments, "--force-reinstall", "--no-deps"], env)
    _pip_install(installer, arguments, env)
    now = installed_build(installer)
    console.say(f"  PyTorch is in: {now.version} ({now.runs_on})" if now else "Note: PyTorch does not load")


def _source(installer: Installer, console: Console, build: TorchBuild) -> tuple[list[str], dict[str, str] | None]:
    """pip's arguments and environment for this build: the locked version where its index has it, else the newest.

    Raises StepFailed where the index does not answer.
    """
    version = locked_torch(installer.requirements("torch"))
    if not build.index:
        return [f"torch=={version}" if version else TORCH_NEEDED], None
    # The index is asked alone: elsewhere a newer version of another build would win.
    env = installer.nothing_but(build.index)
    offered = installer.versions("torch", "--index-url", build.index, env=env)
    if not offered and build is CPU:
        own = f"torch=={_own_cpu_version(installer, version)}"
        console.say(f"  PyTorch's index does not answer; your package sources hold {own}")
        return [own], None
    if not offered:
        raise StepFailed("installing PyTorch", f"its index {build.index} does not answer")
    if version in {number.partition("+")[0] for number in offered}:
        return [f"torch=={version}", "--index-url", build.index], env
    if version:
        console.say(f"  {build.index} has no torch {version}, the tested version; taking the newest it has")
    return [TORCH_NEEDED, "--index-url", build.index], env


def locked_torch(requirements: Path) -> str:
    """The version of PyTorch that the suite was run with, "" where none is named.

    Without hashes: one version has other files on every one of PyTorch's indexes, and which one is asked is
    decided on the machine, or by the person. pip checks the hash that the index itself gives.
    """
    try:
        text = (lock_path(requirements).parent / VERSION_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    return versions(locked(text)).get("torch", "")


@dataclass(frozen=True, slots=True)
class Installed:
    """The PyTorch that is in the environment. `runs_on` is "CPU", "CUDA 13.0" or "ROCm 7.2"."""

    version: str
    runs_on: str


# Asked in a process of its own; an old or torn PyTorch may end it in any way.
_PROBE = (
    "import torch; v = getattr(torch, 'version', None); cuda = getattr(v, 'cuda', ''); hip = getattr(v, 'hip', ''); "
    "print('TORCH', torch.__version__, f'CUDA {cuda}' if cuda else f'ROCm {hip}' if hip else 'CPU')"
)


def installed_build(installer: Installer) -> Installed | None:
    """The PyTorch that is installed, None where there is none in the wanted range or it does not load."""
    found = re.search(r"^TORCH (\S+) (.+)$", installer.python(_PROBE).text, re.MULTILINE)
    number = re.match(r"(\d+)\.(\d+)", found.group(1)) if found else None
    if not found or not number or not (2, 6) <= (int(number.group(1)), int(number.group(2))) < (3, 0):
        return None
    return Installed(found.group(1), found.group(2).strip())


def _is_wrong(build: TorchBuild, there: Installed, asked: bool) -> bool:
    """Whether what is there has to go: one without the GPU where its build is wanted, or another than asked for."""
    if build.name == "custom":
        return True
    if build is CPU:
        return asked and there.runs_on != "CPU"
    return build.gpu and there.runs_on == "CPU"


def _pip_install(installer: Installer, arguments: list[str], env: Mapping[str, str] | None) -> None:
    ended = installer.pip_install(arguments, env=env)
    if ended.code != 0:
        raise StepFailed("installing PyTorch", f"pip ended with code {ended.code}", detail=ended.telling())


def _own_cpu_version(installer: Installer, locked_version: str) -> str:
    """The locked or else the newest processor build among the sources pip is set up with. Raises StepFailed."""
    fitting = cpu_versions(installer)
    if fitting:
        return next((version for version in fitting if version == f"{locked_version}+cpu"), fitting[0])
    raise StepFailed(
        "installing PyTorch",
        f"PyTorch's index {CPU.index} does not answer, and your package sources hold no build for the processor",
        hint="take the build with CUDA, about 3 GB: python3 start.py install transformers --torch default",
    )


def cpu_versions(installer: Installer) -> tuple[str, ...]:
    """Processor builds in the range among the sources pip is set up with (a local folder, a mirror), newest first."""
    fitting = []
    for version in installer.versions("torch"):
        match = re.fullmatch(r"(\d+)\.(\d+)[^+]*\+cpu", version)
        if match and (2, 6) <= (int(match.group(1)), int(match.group(2))) < (3, 0):
            fitting.append(version)
    return tuple(fitting)

"""Packages that are compiled on the person's machine: the compiler they need, their flags, what is said meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from modules.launcher.console import Console, StepFailed
from modules.launcher.installer import Installer
from modules.launcher.machine import Machine

# Where a package has ready-made builds beside the default index: for the processor, without flags.
READY_MADE = {"llama-cpp-python": "https://abetlen.github.io/llama-cpp-python/whl/cpu"}
HOW_TO_GET_A_COMPILER = {
    "Linux": "Debian, Ubuntu: sudo apt install build-essential; Fedora: sudo dnf install gcc-c++; "
    "Arch: sudo pacman -S base-devel",
    "Darwin": "xcode-select --install",
    "Windows": 'the "Desktop development with C++" part of the Visual Studio Build Tools',
}
# The compiler's own steps, as pip hands them on, are the only sign of how far it is.
VERBOSE = "-v"
# pip's word for a build tool (or the package itself) that none of its sources has.
MISSING_TOOL = "ERROR: No matching distribution"


def build_from_source(
    name: str, requirements: Path, installer: Installer, machine: Machine, console: Console,
    environ: Mapping[str, str] = os.environ,
) -> None:  # fmt: skip
    """Compile and install the package of this requirements file. Raises StepFailed.

    Without a compiler a ready-made build is looked for. Flags in CMAKE_ARGS always lead to a build of
    their own: pip would take one that is installed, or in its cache, for the same.
    """
    if not has_compiler(environ):
        console.say(f"No C++ compiler was found, so {name} cannot be built here; looking for a ready-made build.")
        ready = ["--only-binary", name, "--extra-index-url", READY_MADE[name]]
        how = HOW_TO_GET_A_COMPILER.get(machine.system, "your system's package manager has one")
        why = "there is no ready-made build to be had either"
        # A build of another index is not in the lock.
        _install(installer, requirements, ready, why, f"install a C++ compiler first ({how})", use_lock=False)
        return
    console.say(f"{name} is compiled on this machine: some minutes, longer on few cores (CMAKE_ARGS is honoured).")
    flags = environ.get("CMAKE_ARGS", "")
    again = f"set other flags in CMAKE_ARGS (now: {flags or 'none'}); GGUF models run without {name}, too"
    if flags:
        console.say(f"  with CMAKE_ARGS={flags}")
        anew = ["--force-reinstall", "--no-deps", "--no-cache-dir", "--no-binary", name]
        _install(installer, requirements, [VERBOSE, *anew], "the build failed", again, only=name)
    elif machine.nvidia_driver is not None:
        console.say(f"  for the processor; for your GPU:  CMAKE_ARGS=-DGGML_CUDA=on python3 start.py install {name}")
    _install(installer, requirements, [VERBOSE], "the build failed", again)


def has_compiler(environ: Mapping[str, str]) -> bool:
    """Whether a C++ compiler is on PATH or named in CXX."""
    names = ("cl", "clang++", "g++") if os.name == "nt" else ("c++", "g++", "clang++")
    path = environ.get("PATH")
    return any(shutil.which(name, path=path) for name in (environ.get("CXX", ""), *names) if name)


def _install(
    installer: Installer, requirements: Path, extra: Sequence[str], why: str, hint: str,
    *, only: str = "", use_lock: bool = True,
) -> None:  # fmt: skip
    try:
        installer.install_file(requirements, extra=extra, only=only, use_lock=use_lock)
    except StepFailed as error:
        if any(line.startswith(MISSING_TOOL) for line in error.detail):
            why, hint = f"{why}, a package for it could not be downloaded", "" if VERBOSE in extra else hint
        raise StepFailed(error.message, f"{why}: {error.why}", detail=error.detail, hint=hint) from error

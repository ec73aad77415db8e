"""Importing a library that compiles CUDA code the first time: minutes, told step by step, and refused in words."""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from modules.errors import LoadFailed

Progress = Callable[[float, str], None]
_LOOK_S = 2.0
_SOURCES = (".cu", ".cpp")
_BEGUN, _BUILT = 0.01, 0.3


def import_library(name: str, title: str, extension: str, progress: Progress) -> ModuleType:
    """The library, ready for use. Raises LoadFailed with the reason and the next step.

    extension  the name of its CUDA module, as PyTorch's build cache knows it
    """
    install = f"python3 start.py install {name}"
    if importlib.util.find_spec(name) is None:
        raise LoadFailed(f"{title} is not installed.", hint=f"Install it: {install}")
    progress(0.005, "starting PyTorch")
    try:
        import torch
    except (ImportError, OSError) as error:
        raise LoadFailed(
            f"{title} needs PyTorch, which cannot be loaded: {error}", hint=f"Install it: {install}"
        ) from error
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "it sees no graphics card" if built else "this build of it is for the processor only"
        raise LoadFailed(f"{title} computes on an NVIDIA graphics card, and PyTorch says that {why}.",
                         hint="" if built else f"With a card: {install} --torch cuda")  # fmt: skip
    progress(_BEGUN, f"starting {title}")
    try:
        with told(name, extension, progress):
            return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        raise LoadFailed(
            f"{title} does not start: {_first_line(error)}",
            hint=f"The first start compiles its CUDA code. That takes the CUDA toolkit (nvcc) for CUDA "
            f"{torch.version.cuda}, a C++ compiler and ninja; the worker's log has the compiler's words.",
        ) from error


@contextmanager
def told(name: str, extension: str, progress: Progress) -> Iterator[None]:
    """Tells every two seconds how many of the library's CUDA sources are compiled; also that it is still at it."""
    ended = threading.Event()
    total = len(sources(name))

    def watch() -> None:
        while not ended.wait(_LOOK_S):
            done = compiled(extension)
            share = min(1.0, done / total) if total else 0.0
            words = f"compiling CUDA code, {min(done, total)} of {total} files (only the first time)"
            progress(_BEGUN + (_BUILT - _BEGUN) * share, words if done else "starting the engine")

    threading.Thread(target=watch, name="build", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def sources(name: str) -> list[Path]:
    """The files of a package that get compiled, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return []
    return [file for file in Path(spec.origin).parent.rglob("*") if file.suffix in _SOURCES]


def compiled(extension: str) -> int:
    """How many object files PyTorch's build cache holds for this module."""
    root = os.environ.get("TORCH_EXTENSIONS_DIR")
    base = Path(root) if root else Path.home() / ".cache" / "torch_extensions"
    return max((len(list(folder.rglob("*.o"))) for folder in base.glob(f"**/{extension}")), default=0)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__

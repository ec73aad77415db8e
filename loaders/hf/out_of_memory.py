"""Memory that is given back, memory that ran out, and other errors as people can read them."""

from __future__ import annotations

import ctypes
import sys
import traceback

import torch

from modules.errors import EngineError, EnginehouseError


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def give_back() -> None:
    """Return what torch holds but does not use to the device."""
    try:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    except RuntimeError:  # a card that failed refuses this too; whoever waits has been told of the first error
        traceback.print_exc()


def trim() -> None:
    """Return freed memory to the system. glibc keeps up to half a gigabyte of what loading and quantising needed."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def explained(error: Exception) -> EnginehouseError:
    """An error as people can read it."""
    if isinstance(error, EnginehouseError):
        return error
    if out_of_memory(error):
        return EngineError(
            "The memory ran out while the reply was computed.",
            hint="Load the model with a smaller context, fewer parallel replies, or quantised.",
            code="out_of_memory",
        )
    said = f"{type(error).__name__}: {error}"
    return EngineError(f"The engine failed: {said[:500]}", hint="Its log has the details.")

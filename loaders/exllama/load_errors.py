"""What goes wrong while a model is loaded, in people's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modules.errors import OUT_OF_MEMORY, LoadFailed


@contextmanager
def told_as_failures(title: str) -> Iterator[None]:
    """The libraries use assertions and plain exceptions for what a model or a setting lacks."""
    try:
        yield
    except LoadFailed:
        raise
    except (AssertionError, NotImplementedError, ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        said = str(error).strip().splitlines()
        reason = said[0][:300] if said else type(error).__name__
        memory = "out of memory" in str(error).lower() or "insufficient vram" in str(error).lower()
        hint = "Try a smaller context, or a smaller KV cache type." if memory else "The worker's log has the details."
        raise LoadFailed(
            f"{title} did not load the model: {reason}", hint=hint, code=OUT_OF_MEMORY if memory else None
        ) from error

"""How many tokens of context to load a model with, and why."""

from __future__ import annotations

from collections.abc import Mapping

from loaders.llama.settings import DEFAULT_CONTEXT
from modules.types import Decision, ParamValue

SMALLEST_CONTEXT = 256
VECTOR_CONTEXT = 2048
"""The most an embedding model gets unasked: its whole text is computed at once, and the memory grows with it."""


def choose_context(
    wanted: int, trained: int | None, most: int = DEFAULT_CONTEXT, stretch: float = 1.0
) -> Decision[int]:
    """The context to load with, in tokens. `trained` is what the file says, None when it says nothing.

    most     what is given unasked
    stretch  how many times longer RoPE scaling makes it
    """
    if trained and stretch > 1:
        reach = int(trained * stretch)
        if wanted and wanted <= reach:
            return _asked_for(wanted)
        if wanted:
            return Decision(reach, f"The model was trained for {trained:,}, scaled {stretch:g} times.")
        return Decision(reach, f"The model was trained for {trained:,} tokens, stretched {stretch:g} times.")
    if wanted and trained and wanted > trained:
        return Decision(trained, f"The model was trained for {trained:,} tokens. RoPE scaling makes more possible.")
    if wanted:
        return _asked_for(wanted)
    if trained is None:
        return Decision(most, "The file does not say what the model was trained for, so a usual value.")
    if trained <= most:
        return Decision(trained, "It is what the model was trained for.")
    return Decision(
        most, f"The model was trained for {trained:,} tokens; {most:,} keeps the memory small. Set context for more."
    )


def _asked_for(wanted: int) -> Decision[int]:
    if wanted < SMALLEST_CONTEXT:
        return Decision(SMALLEST_CONTEXT, f"{SMALLEST_CONTEXT} tokens is the smallest context.")
    return Decision(wanted, "It was asked for.")


def stretch_of(settings: Mapping[str, ParamValue]) -> float:
    """How many times longer the settings of RoPE make the context than the model says; 1.0 = not."""
    scale = settings["rope_scale"]
    return float(scale) if isinstance(scale, (int, float)) and scale > 1 else 1.0

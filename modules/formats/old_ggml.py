"""Recognizes the model files from before GGUF (2023) by the magic number they begin with."""

from __future__ import annotations

from modules.formats.facts import ModelFacts
from modules.formats.problems import Problem, Reason

_MAGICS = {
    b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT", b"algg": "GGLA", b"ccgg": "GGCC", b"nsgg": "GGSN",
    b"qsgg": "GGSQ",
}  # fmt: skip
"""Magic number as it stands in the file (little-endian), and the name of the format."""


def is_old_ggml(start: bytes) -> bool:
    """Whether a file that begins with `start` is one of these."""
    return start[:4] in _MAGICS


def old_ggml_facts(start: bytes, size: int) -> ModelFacts:
    """What the file of `size` bytes that begins with `start` is; it always has a problem.

    Which model it is stands nowhere in these files, and nothing here opens any of them, so it is not guessed.
    """
    name = _MAGICS[start[:4]]
    if name == "GGLA":
        return ModelFacts("ggml", "adapter", size=size, problem=Problem.of(Reason.OLD_ADAPTER))
    if name in ("GGSN", "GGSQ"):
        return ModelFacts("ggml", "other", size=size, problem=Problem.of(Reason.OLD_SESSION))
    return ModelFacts("ggml", size=size, problem=Problem.of(Reason.OLD_GGML, format=name))

"""The one error of the GGUF reader."""

from __future__ import annotations

from modules.formats.problems import ModelFileError, Problem, Reason


class GgufError(ModelFileError):
    """The file is not a model this program can open; `problem` says what it is instead."""


def damaged(what: str) -> GgufError:
    """The error for a header that contradicts itself."""
    return GgufError(Problem.of(Reason.DAMAGED, what=what))

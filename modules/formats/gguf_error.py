"""The one error of the GGUF reader."""

from __future__ import annotations

from modules.errors import Unsupported
from modules.formats.bad_file import AGAIN


class GgufError(Unsupported):
    """The file is not a model this program can open; the message says what it is instead."""

    code = "bad_model_file"


def damaged(what: str) -> GgufError:
    """The error for a header that contradicts itself."""
    return GgufError(f"The header is damaged: {what}.", hint=AGAIN)

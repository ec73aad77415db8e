"""Whether a companion - adapter, image part, control vector - was made for a model, as far as their files tell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from modules.formats.facts import ModelFacts
from modules.formats.problems import Reason
from modules.models.model_file import ModelFile

COMPANIONS = ("adapter", "mmproj", "control-vector")
_NO_NAME = re.compile(
    r"(?:mmproj|mm|proj|model|clip|vision|gguf|f16|fp16|bf16|f32|fp32|q\d(?:_\w+)?|iq\d\w*|ud|xl|[0-9]|k|m|s)"
)
_BEST_FIRST = ("F16", "BF16", "Q8_0", "F32")


def mismatch(companion: ModelFacts, model: ModelFacts) -> str:
    """Why `companion` cannot go with `model`, as the end of a sentence; "" where nothing speaks against it."""
    made_for = {"adapter": companion.arch, "control-vector": companion.base}.get(companion.kind, "")
    if companion.format == model.format == "gguf" and made_for and made_for != model.arch:
        return f"was made for a model of the architecture {made_for}, and this is {model.arch}"
    widths = companion.extra.get("widths")
    if isinstance(widths, tuple) and widths and model.hidden and model.hidden not in widths:
        return f"was made for a model of another size: nothing in it is {model.hidden} wide, as this model is"
    blocks = companion.extra.get("blocks")
    if companion.kind == "adapter" and isinstance(blocks, int) and model.layers and blocks > model.layers:
        return f"was made for a model with at least {blocks} layers, and this one has {model.layers}"
    return ""


def beside(companions: Iterable[ModelFile], model: ModelFile, root: Path) -> tuple[ModelFile, ...]:
    """The image parts that lie beside `model` and were surely made for it, best first.

    In a folder of its own a fitting one needs no name; in the models folder itself, and where its name says what it
    is for, the name has to be the model's too.
    """
    if model.facts.format != "gguf" or model.kind != "model":
        return ()
    words = _words(model.path.name)
    found = []
    for one in companions:
        if one.kind != "mmproj" or one.facts.problem is None or one.facts.problem.code is not Reason.MMPROJ:
            continue
        if one.path.parent != model.path.parent or mismatch(one.facts, model.facts):
            continue
        named = _words(one.path.name)
        if named <= words and (named or model.path.parent != root):
            found.append(one)
    order = {quant: at for at, quant in enumerate(_BEST_FIRST)}
    return tuple(sorted(found, key=lambda one: (order.get(one.facts.quant, len(order)), one.name)))


def _words(name: str) -> frozenset[str]:
    """The words of a file name that say what model it is."""
    pieces = re.split(r"[-_. ]+", name.lower())
    return frozenset(piece for piece in pieces if piece and not _NO_NAME.fullmatch(piece))

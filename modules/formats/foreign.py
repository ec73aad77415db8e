"""Recognizes model files of other programs (NeMo, TensorFlow Lite, Core ML, CTranslate2 …), to explain them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modules.formats.problems import Problem, Reason

FOREIGN: Mapping[str, tuple[str, str]] = {
    ".nemo": ("nemo", "an NVIDIA NeMo model"),
    ".tflite": ("tflite", "a TensorFlow Lite model"),
    ".litertlm": ("litert", "a LiteRT-LM model"),
    ".task": ("litert", "a MediaPipe model"),
    ".mlmodel": ("coreml", "a Core ML model"),
    ".mlpackage": ("coreml", "a Core ML model"),
    ".mlmodelc": ("coreml", "a Core ML model"),
    ".pte": ("executorch", "an ExecuTorch model"),
    ".mnn": ("mnn", "an MNN model"),
    ".rknn": ("rknn", "a model for Rockchip's NPU"),
    ".keras": ("keras", "a Keras model"),
    ".pb": ("tensorflow", "a TensorFlow graph"),
    ".msgpack": ("flax", "a Flax model"),
    ".pdparams": ("paddle", "a PaddlePaddle model"),
    ".caffemodel": ("caffe", "a Caffe model"),
}
"""By ending: the format's name in the model list, and what a person calls it."""
_MAGICS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", ".tflite"),
    (4, b"ET12", ".pte"),
    (0, b"LITERTLM", ".litertlm"),
)
_PIECE = re.compile(
    r".+\.(?:gguf|safetensors|bin)(?:[.-](?:part|split)[-_]?[a-z0-9]{1,4}(?:of\d{1,4})?|\.\d{3}|\.a[a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Format for ModelFacts, and the problem."""

    format: str
    problem: Problem


def foreign_file(name: str, start: bytes) -> Foreign | None:
    """What a file of that name that begins with `start` is; None when it is none of these."""
    if (spec := ctranslate2_spec(start)) is not None:
        return Foreign("ctranslate2", Problem.of(Reason.CTRANSLATE2, spec=spec))
    ending = next((ending for at, magic, ending in _MAGICS if start[at : at + len(magic)] == magic), "")
    ending = ending or next((one for one in FOREIGN if name.lower().endswith(one)), "")
    if not ending or start.lstrip().startswith((b"version https://git-lfs", b"<")):
        return None  # a pointer or a page under that name is explained as such
    fmt, what = FOREIGN[ending]
    return Foreign(fmt, Problem.of(Reason.FOREIGN, what=what))


def ctranslate2_spec(start: bytes) -> str | None:
    """The name of the specification a CTranslate2 model.bin begins with ("WhisperSpec"); None for any other file.

    Source: ctranslate2/specs/model_spec.py, ModelSpec._serialize: version, then length and text with a final zero.
    """
    version, length = int.from_bytes(start[:4], "little"), int.from_bytes(start[4:6], "little")
    text = start[6 : 6 + length].rstrip(b"\0")
    if not 1 <= version <= 64 or not 5 <= length <= 64 or not text.endswith(b"Spec") or not text.isalnum():
        return None
    return text.decode("ascii", "replace")


def is_piece(name: str) -> bool:
    """Whether a file is one piece of a larger one that was cut for its upload (x.gguf.part1of2, x.gguf-split-a)."""
    return bool(_PIECE.fullmatch(name))

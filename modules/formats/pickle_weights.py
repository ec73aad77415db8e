"""Knows pickle files by their first bytes and their table of contents. Nothing is ever unpickled here.

A pickle is a program for the machine that opens it. PyTorch's files are pickles: alone (until 1.5), or inside a ZIP.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from modules.formats.facts import ModelFacts
from modules.formats.gguf import megabytes
from modules.formats.problems import Problem, Reason

_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_END = b"PK\x05\x06"
_MAX_TAIL = 65_557
_MAX_TABLE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """What a ZIP holds: "torch" (weights), "torchscript" (a program), "numpy", "zip" (anything else), or "cut"."""

    kind: str
    names: int = 0


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins with `start` is a pickle or a ZIP that may hold one."""
    return start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def pickle_facts(path: Path, start: bytes, size: int) -> ModelFacts:
    """What the file is. Reads the ZIP's table of contents, bounded; never raises for what is in it, only OSError."""
    if start[:4] != b"PK\x03\x04":
        quant = "PyTorch before 1.6" if start.startswith(_LEGACY) else ""
        return ModelFacts("pickle", size=size, quant=quant, problem=Problem.of(Reason.PICKLE))
    match contents(path, size).kind:
        case "torch":
            return ModelFacts("pickle", size=size, problem=Problem.of(Reason.PICKLE))
        case "torchscript":
            return ModelFacts("pickle", "other", size=size, problem=Problem.of(Reason.TORCHSCRIPT))
        case "numpy":
            return ModelFacts("unknown", "other", size=size, problem=Problem.of(Reason.NUMPY))
        case "cut":
            return ModelFacts("pickle", size=size, problem=Problem.of(Reason.CUT_ZIP, there=megabytes(size)))
    return ModelFacts("unknown", size=size, problem=Problem.of(Reason.ZIP))


def contents(path: Path, size: int) -> Contents:
    """What a ZIP file holds, by the names in its table of contents. Raises OSError."""
    with path.open("rb") as file:
        tail_size = min(size, _MAX_TAIL)
        file.seek(size - tail_size)
        tail = file.read(tail_size)
        at = tail.rfind(_END)
        if at < 0 or len(tail) - at < 22:
            return Contents("cut")
        count, length, offset = struct.unpack("<HII", tail[at + 10 : at + 20])
        if offset == 0xFFFFFFFF or count == 0xFFFF:  # ZIP64: the table stands right before its own end record
            before = tail.rfind(b"PK\x06\x06", 0, at)
            if before < 0 or at - before < 56:
                return Contents("cut")
            count, length, offset = struct.unpack("<QQQ", tail[before + 32 : before + 56])
        if offset + length > size:
            return Contents("cut")
        file.seek(offset)
        table = file.read(min(length, _MAX_TABLE))
    return Contents(_kind(table), count)


def _kind(table: bytes) -> str:
    """From the raw table: names stand in it as they are, so it need not be taken apart."""
    if b"constants.pkl" in table and b"code/" in table:
        return "torchscript"
    if b"data.pkl" in table:
        return "torch"
    return "numpy" if b".npy" in table else "zip"

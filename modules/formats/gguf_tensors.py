"""Reads the table of tensors of a GGUF file: how many weights of which type, and bytes by block."""

from __future__ import annotations

from dataclasses import dataclass

from modules.formats.gguf_cursor import Cursor
from modules.formats.gguf_error import damaged
from modules.formats.gguf_tables import TENSOR_TYPES
from modules.formats.weights import Groups, Tally

_LONGEST_NAME = 256  # ggml allows 64


@dataclass(frozen=True, slots=True)
class TensorTable:
    """What the table says.

    elements  weights by the number of their type
    end       offset behind the last tensor, counted from the first, in bytes
    size      bytes of all tensors; None where a type is not known
    """

    elements: dict[int, int]
    end: int
    size: int | None
    groups: Groups


def read_tensors(cursor: Cursor, count: int, length: str) -> TensorTable:
    """The table of `count` tensors at the cursor. `length` is the struct letter of lengths. Raises GgufError."""
    elements_by: dict[int, int] = {}
    tally, end, size, known = Tally(), 0, 0, True
    for _ in range(count):
        cursor.check_time()
        name = _name(cursor, cursor.number(length))
        dimensions = cursor.number("I")
        if dimensions > 8:
            raise damaged(f"a tensor claims {dimensions} dimensions")
        shape = tuple(cursor.number(length) for _ in range(dimensions))
        elements = 1
        for side in shape:
            elements *= side
        kind, offset = cursor.number("I"), cursor.number("Q")
        if elements > 2**48 or offset > 2**48:
            raise damaged("a tensor claims to be larger than any model")
        elements_by[kind] = elements_by.get(kind, 0) + elements
        if kind not in TENSOR_TYPES:
            known = False
            continue
        stored = TENSOR_TYPES[kind]
        taken = elements // stored.block * stored.size
        end = max(end, offset + taken)
        size += taken
        tally.add(name, taken, shape)
    return TensorTable(elements_by, end, size if known else None, tally.groups())


def _name(cursor: Cursor, length: int) -> str:
    if length > _LONGEST_NAME:
        cursor.skip(length)
        return ""
    return cursor.take(length).decode("utf-8", "replace")

"""Reads the header of a safetensors file: which tensors of which kind, without opening the weights.

The file is untrusted. Its length and the number of its values are bounded before the JSON reader sees it, so that the
reader ends within about a second and some hundred megabytes; it gives a SafetensorsHeader or raises SafetensorsError.
Format: https://github.com/huggingface/safetensors (8 bytes length, JSON, data without gaps)
"""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.formats.bad_file import START, bad_file
from modules.formats.gguf import megabytes
from modules.formats.plain_json import text_of
from modules.formats.problems import ModelFileError, Problem, Reason
from modules.formats.weights import Groups, Tally

MAX_HEADER = 32 * 1024 * 1024  # the largest real ones have about 15 MB
MAX_SECONDS = 1.5
MAX_KEPT = 64  # entries of __metadata__
MAX_TEXT = 4096
MAX_SIDES = 16
MAX_NAME = 4096
MAX_TENSORS = 120_000  # real headers of 15 MB name about 110,000
MAX_VALUES = 12 * MAX_TENSORS  # commas: a usual entry has five to eight
BITS: Mapping[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip
_DIGITS = re.compile(r"\d+")
_MARKS = re.compile(
    r"lora_[AB]|lora_(?:up|down)|lora_magnitude_vector|hada_w|oft_|ia3_|lokr_"
    r"|(?:q_weight|qweight|qzeros|g_idx|trellis|SCB|W_q|weight_packed|weight_scale_inv|weight_scale|weight_shape)$"
    r"|quant_state\.bitsandbytes__(?:nf4|fp4)$|(?:nested_absmax|absmax|nested_quant_map|quant_map|_blocks|_scales|scales|biases)$"
    r"|(?:q_proj|k_proj|q_norm)\.weight$|embed_tokens\.weight$|wte\.weight$"
    r"|^(?:model\.diffusion_model|first_stage_model|double_blocks|single_blocks|joint_blocks|down_blocks|up_blocks"
    r"|transformer_blocks|lora_unet_\w+?|cond_stage_model|decoder\.up|conditioner|control_model)(?=[._])"
)


class SafetensorsError(ModelFileError):
    """The file is not one that can be opened; `problem` says what it is instead."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Tensors whose name gives away what the file is: how many, weights in them, and the first one."""

    count: int
    elements: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a safetensors file says about itself.

    elements  numbers stored, by dtype ("BF16")
    weights   bytes of the data
    marks     telling parts of tensor names, see _MARKS
    metadata  texts of __metadata__, without very long ones
    """

    size: int
    tensors: int
    elements: Mapping[str, int]
    weights: int
    groups: Groups
    marks: Mapping[str, Mark] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins with `start` is meant to be one."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**40


def read_safetensors(path: Path) -> SafetensorsHeader:
    """The header of the file at `path`. Raises SafetensorsError, and nothing else, for anything wrong with it."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SafetensorsError(Problem.of(Reason.NOT_ORDINARY))
        with path.open("rb") as file:
            start = file.read(START)
            length = _length(start, found.st_size, path.suffix)
            file.seek(8)
            raw = file.read(length)
    except OSError as error:
        raise SafetensorsError(Problem.of(Reason.CANNOT_OPEN, error=error.strerror or error)) from error
    if len(raw) < length:
        raise _cut(found.st_size, length + 8)
    return _Reader(raw, found.st_size).header()


def _length(start: bytes, size: int, ending: str) -> int:
    """Bytes of the header of a file that begins so."""
    if bad := bad_file(start, size, ending):
        raise SafetensorsError(bad.problem)
    if start[:4] == b"GGUF":
        raise SafetensorsError(Problem.of(Reason.IS_GGUF))
    if not is_safetensors(start):
        raise SafetensorsError(Problem.of(Reason.NOT_SAFETENSORS))
    length = int.from_bytes(start[:8], "little")
    if length > size - 8:
        raise _cut(size, length + 8)
    if length > MAX_HEADER:
        raise _damaged(f"it is {megabytes(length)} long, larger than that of any real model")
    return length


def _damaged(what: str) -> SafetensorsError:
    return SafetensorsError(Problem.of(Reason.DAMAGED, what=what))


def _cut(there: int, whole: int) -> SafetensorsError:
    return SafetensorsError(Problem.of(Reason.CUT_SHORT_AT_LEAST, there=megabytes(there), whole=megabytes(whole)))


class _Reader:
    """One pass over one header."""

    def __init__(self, raw: bytes, size: int) -> None:
        self._raw = raw
        self._size = size
        self._tally = Tally()
        self._elements: dict[str, int] = {}
        self._marks: dict[str, Mark] = {}
        self._metadata: dict[str, str] = {}
        self._kinds: dict[str, tuple[str, ...]] = {}
        self._sum = self._end = self._tensors = 0

    def header(self) -> SafetensorsHeader:
        """Walk all entries. Raises SafetensorsError."""
        self._walk()
        data = self._size - 8 - len(self._raw)
        if self._end > data:
            raise SafetensorsError(
                Problem.of(
                    Reason.CUT_SHORT, there=megabytes(self._size), whole=megabytes(self._size - data + self._end)
                )
            )
        if self._sum != self._end:
            raise _damaged("its tensors overlap or leave gaps")
        if self._end < data:
            raise _damaged(f"the file has {megabytes(data - self._end)} more than it names")
        return SafetensorsHeader(
            self._size, self._tensors, self._elements, self._sum, self._tally.groups(), self._marks, self._metadata
        )

    def _walk(self) -> None:
        until = time.thread_time() + MAX_SECONDS
        entries = _parsed(self._raw)
        self._keep_metadata(entries.pop("__metadata__", None))
        for number, (name, entry) in enumerate(entries.items()):
            if number % 512 == 0 and time.thread_time() > until:
                raise _damaged("it is far larger than that of any real model")
            if len(name) > MAX_NAME:
                raise _damaged(f"a name in it is {len(name)} characters long")
            self._tensor(name, entry)

    def _marks_in(self, name: str) -> tuple[str, ...]:
        """The telling parts of a name; blocks differ by their number only, so that each kind is searched once."""
        kind = _DIGITS.sub("0", name)
        found = self._kinds.get(kind)
        if found is None:
            found = tuple(_MARKS.findall(name))
            if len(self._kinds) < 1024:
                self._kinds[kind] = found
        return found

    def _keep_metadata(self, values: Any) -> None:
        """What the maker wrote; long texts of a training are of no use here."""
        if isinstance(values, dict):
            kept = {key: text for key, text in values.items() if isinstance(text, str) and len(text) < MAX_TEXT}
            self._metadata = {text_of(key): text_of(text) for key, text in list(kept.items())[:MAX_KEPT]}

    def _tensor(self, name: str, entry: Any) -> None:
        dtype, shape, begin, end = _described(name, entry)
        self._tensors += 1
        count = 1
        for side in shape:
            count *= side
            if count > 2**48:
                raise _damaged("a tensor claims to be larger than any model")
        taken = end - begin
        if taken < 0 or (dtype in BITS and taken * 8 != -(-count * BITS[dtype] // 8) * 8):
            raise _damaged(f"the size of {text_of(name[:80])!r} does not fit its shape")
        self._sum += taken
        self._end = max(self._end, end)
        if len(self._elements) < 64 or dtype in self._elements:
            self._elements[dtype] = self._elements.get(dtype, 0) + count
        self._tally.add(name, taken, shape)
        for mark in self._marks_in(name):
            old = self._marks.get(mark)
            if old is not None:
                self._marks[mark] = Mark(old.count + 1, old.elements + count, old.dtype, old.shape)
            elif len(self._marks) < 128:
                self._marks[mark] = Mark(1, count, dtype, shape)


def _parsed(raw: bytes) -> dict[str, Any]:
    """The header's object. Counted first: each value takes up to a hundred bytes once it is read."""
    if raw.count(b"{") > MAX_TENSORS + 2 or raw.count(b",") > MAX_VALUES or raw.count(b"[") > 2 * MAX_TENSORS + 2:
        raise _damaged("it is far larger than that of any real model")
    try:
        values = json.loads(raw.rstrip(b"\0"))
    except (ValueError, RecursionError):
        raise _damaged("it is not the JSON it should be") from None
    if not isinstance(values, dict):
        raise _damaged("it is not the JSON it should be")
    return values


def _described(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, and where the numbers begin and end."""
    if type(entry) is dict:
        dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if type(dtype) is str and type(shape) is list and type(offsets) is list and len(offsets) == 2:
            numbers = [one for one in (*shape, *offsets) if type(one) is int and 0 <= one < 2**62]
            if len(shape) <= MAX_SIDES and len(numbers) == len(shape) + 2:
                return dtype[:20], tuple(shape), offsets[0], offsets[1]
    raise _damaged(f"the entry {text_of(name[:80])!r} is not the description of a tensor")

"""Reads the header of a safetensors file: which tensors of which kind, without opening the weights.

The file is untrusted. The header is walked entry by entry, never parsed as a whole, so that it costs its own size
and no more; a reader ends within about a second of work and gives a SafetensorsHeader or raises SafetensorsError.
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

from modules.errors import Unsupported
from modules.formats.bad_file import AGAIN, START, bad_file
from modules.formats.gguf import megabytes
from modules.formats.weights import Groups, Tally

MAX_HEADER = 32 * 1024 * 1024  # the largest real ones have about 15 MB
MAX_SECONDS = 1.5
MAX_METADATA = 64 * 1024
MAX_NAME = 4096
BITS: Mapping[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip
# Possessive throughout: no input makes these go back and try again.
_ENTRY = re.compile(
    rb'\s*+"((?:[^"\\]++|\\.)*+)"\s*+:\s*+\{((?:[^{}"]++|"(?:[^"\\]++|\\.)*+")*+)\}\s*+([,}])', re.DOTALL
)
_USUAL = re.compile(
    rb'\s*+"dtype"\s*+:\s*+"(\w{1,20})"\s*+,\s*+"shape"\s*+:\s*+\[([\d,\s]{0,200})\]\s*+,'
    rb'\s*+"data_offsets"\s*+:\s*+\[\s*+(\d{1,18})\s*+,\s*+(\d{1,18})\s*+\]\s*+'
)
_MARKS = re.compile(
    r"lora_[AB]|lora_(?:up|down)|lora_magnitude_vector|hada_w|oft_|ia3_|lokr_"
    r"|(?:q_weight|qweight|qzeros|g_idx|trellis|SCB|W_q|weight_packed|weight_scale_inv|weight_scale|weight_shape)$"
    r"|quant_state\.bitsandbytes__(?:nf4|fp4)$|(?:nested_absmax|absmax|nested_quant_map|quant_map|_blocks|_scales|scales|biases)$"
    r"|(?:q_proj|k_proj|q_norm)\.weight$|embed_tokens\.weight$|wte\.weight$"
    r"|^(?:model\.diffusion_model|first_stage_model|double_blocks|single_blocks|joint_blocks|down_blocks|up_blocks"
    r"|transformer_blocks|lora_unet_\w+?|cond_stage_model|decoder\.up|conditioner|control_model)(?=[._])"
)


class SafetensorsError(Unsupported):
    """The file is not one that can be opened; the message says what it is instead."""

    code = "bad_model_file"


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
    metadata  texts of __metadata__; empty when it is very long
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
            raise SafetensorsError("This is not an ordinary file.")
        with path.open("rb") as file:
            start = file.read(START)
            length = _length(start, found.st_size, path.suffix)
            file.seek(8)
            raw = file.read(length)
    except OSError as error:
        raise SafetensorsError(f"The file cannot be opened: {error.strerror or error}.") from error
    if len(raw) < length:
        raise _cut(found.st_size, length + 8)
    return _Reader(raw, found.st_size).header()


def _length(start: bytes, size: int, ending: str) -> int:
    """Bytes of the header of a file that begins so."""
    if bad := bad_file(start, size, ending):
        raise SafetensorsError(bad.message, hint=bad.hint)
    if start[:4] == b"GGUF":
        raise SafetensorsError("This is a GGUF file.", hint="Rename it to .gguf.")
    if not is_safetensors(start):
        raise SafetensorsError("This is not a safetensors file.", hint=AGAIN)
    length = int.from_bytes(start[:8], "little")
    if length > size - 8:
        raise _cut(size, length + 8)
    if length > MAX_HEADER:
        raise _damaged(f"it is {megabytes(length)} long, larger than that of any real model")
    return length


def _damaged(what: str) -> SafetensorsError:
    return SafetensorsError(f"The header is damaged: {what}.", hint=AGAIN)


def _cut(there: int, whole: int) -> SafetensorsError:
    return SafetensorsError(
        f"The file is cut short: {megabytes(there)} of at least {megabytes(whole)} are there.", hint=AGAIN
    )


class _Reader:
    """One pass over one header."""

    def __init__(self, raw: bytes, size: int) -> None:
        self._raw = raw
        self._size = size
        self._tally = Tally()
        self._elements: dict[str, int] = {}
        self._marks: dict[str, Mark] = {}
        self._metadata: dict[str, str] = {}
        self._sum = self._end = self._tensors = 0

    def header(self) -> SafetensorsHeader:
        """Walk all entries. Raises SafetensorsError."""
        self._walk()
        data = self._size - 8 - len(self._raw)
        if self._end > data:
            raise SafetensorsError(
                f"The file is cut short: {megabytes(self._size)} of {megabytes(self._size - data + self._end)} are "
                "there.",
                hint=AGAIN,
            )
        if self._sum != self._end:
            raise _damaged("its tensors overlap or leave gaps")
        if self._end < data:
            raise _damaged(f"the file has {megabytes(data - self._end)} more than it names")
        return SafetensorsHeader(
            self._size, self._tensors, self._elements, self._sum, self._tally.groups(), self._marks, self._metadata
        )

    def _walk(self) -> None:
        raw, at, more = self._raw, 1, b","
        until = time.thread_time() + MAX_SECONDS
        if raw.rstrip() == b"{}":
            return
        while more == b",":
            match = _ENTRY.match(raw, at)
            if match is None:
                raise _damaged("it is not the JSON it should be")
            if self._tensors % 512 == 0 and time.thread_time() > until:
                raise _damaged("it is far larger than that of any real model")
            at, more = match.end(), match[3]
            if match[1] == b"__metadata__":
                self._keep_metadata(match[2])
            else:
                self._tensor(_name(match[1]), match[2])
        if raw[at:].strip(b" \n\r\t\0"):
            raise _damaged("something follows its end")

    def _keep_metadata(self, body: bytes) -> None:
        """What the maker wrote; long texts of a training are of no use here."""
        if len(body) > MAX_METADATA:
            return
        values = _parsed(body)
        self._metadata = {key: text for key, text in values.items() if isinstance(text, str)}

    def _tensor(self, name: str, body: bytes) -> None:
        usual = _USUAL.fullmatch(body)
        if usual:
            dtype = usual[1].decode()
            try:
                shape = tuple(int(side) for side in usual[2].split(b",")) if usual[2].strip() else ()
            except ValueError:
                raise _damaged(f"the shape of {name[:80]!r} is not a list of numbers") from None
            begin, end = int(usual[3]), int(usual[4])
        else:
            dtype, shape, begin, end = _unusual(name, body)
        self._tensors += 1
        count = 1
        for side in shape:
            count *= side
            if count > 2**48:
                raise _damaged("a tensor claims to be larger than any model")
        taken = end - begin
        if taken < 0 or (dtype in BITS and taken * 8 != -(-count * BITS[dtype] // 8) * 8):
            raise _damaged(f"the size of {name[:80]!r} does not fit its shape")
        self._sum += taken
        self._end = max(self._end, end)
        if len(self._elements) < 64 or dtype in self._elements:
            self._elements[dtype] = self._elements.get(dtype, 0) + count
        self._tally.add(name, taken, shape)
        for mark in _MARKS.findall(name):
            old = self._marks.get(mark)
            if old is not None:
                self._marks[mark] = Mark(old.count + 1, old.elements + count, old.dtype, old.shape)
            elif len(self._marks) < 128:
                self._marks[mark] = Mark(1, count, dtype, shape)


def _name(raw: bytes) -> str:
    if len(raw) > MAX_NAME:
        raise _damaged(f"a name in it is {len(raw)} bytes long")
    if b"\\" in raw:
        try:
            return str(json.loads(b'"' + raw + b'"'))
        except ValueError:
            raise _damaged("a name in it is not text") from None
    return raw.decode("utf-8", "replace")


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(b"{" + body + b"}")
    except (ValueError, RecursionError):
        raise _damaged("it is not the JSON it should be") from None
    return values if isinstance(values, dict) else {}


def _unusual(name: str, body: bytes) -> tuple[str, tuple[int, ...], int, int]:
    """The same entry with its parts in another order."""
    if len(body) > 4096:
        raise _damaged(f"the entry {name[:80]!r} is {len(body)} bytes long")
    values = _parsed(body)
    dtype, shape, offsets = values.get("dtype"), values.get("shape"), values.get("data_offsets")
    if (
        not isinstance(dtype, str)
        or not isinstance(shape, list)
        or not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(type(one) is int and 0 <= one < 2**62 for one in (*shape, *offsets))
    ):
        raise _damaged(f"the entry {name[:80]!r} is not the description of a tensor")
    return dtype[:20], tuple(shape), offsets[0], offsets[1]

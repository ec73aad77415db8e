"""Writes small GGUF files for the tests, and remembers where every number of the header lies."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 6, 7, 8, 9, 10

LLAMA: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.type": "model",
    "general.name": "Tiny Test",
    "general.file_type": 15,
    "llama.context_length": 2048,
    "llama.block_count": 4,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 8,
    "llama.attention.head_count_kv": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "bc", "ä", ""],
    "tokenizer.ggml.scores": [0.5, 1.5, 2.5, 3.5],
    "tokenizer.chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
}
WEIGHTS: Sequence[tuple[str, tuple[int, ...], int]] = (
    ("token_embd.weight", (64, 4), 0),
    ("output.weight", (256, 8), 12),
)


@dataclass
class GgufMaker:
    """`data` is the file; `numbers` are (offset, width) of each count, length, type and offset in it."""

    version: int = 3
    order: str = "<"
    data: bytearray = field(default_factory=bytearray)
    numbers: list[tuple[int, int]] = field(default_factory=list)

    def number(self, value: int, letter: str) -> None:
        self.numbers.append((len(self.data), struct.calcsize(letter)))
        self.data += struct.pack(self.order + letter, value)

    def length(self, value: int) -> None:
        self.number(value, "I" if self.version == 1 else "Q")

    def text(self, value: str) -> None:
        raw = value.encode()
        self.length(len(raw))
        self.data += raw

    def value(self, value: Any, typed: bool = True) -> None:
        kind = next(
            number
            for cls, number in ((bool, BOOL), (int, UINT32), (float, FLOAT32), (str, STRING), (list, ARRAY))
            if isinstance(value, cls)
        )
        if typed:
            self.number(kind, "I")
        if kind == STRING:
            self.text(value)
        elif kind == ARRAY:
            self.number(
                STRING
                if not value or isinstance(value[0], str)
                else BOOL
                if isinstance(value[0], bool)
                else FLOAT32
                if isinstance(value[0], float)
                else UINT32,
                "I",
            )
            self.length(len(value))
            for one in value:
                self.value(one, typed=False)
        else:
            self.data += struct.pack(self.order + {BOOL: "?", UINT32: "I", FLOAT32: "f"}[kind], value)


def make(
    metadata: Mapping[str, Any] = LLAMA,
    tensors: Sequence[tuple[str, tuple[int, ...], int]] = WEIGHTS,
    version: int = 3,
    order: str = "<",
) -> GgufMaker:
    """A whole GGUF file with F32 (0) and Q4_K (12) tensors of zeros."""
    maker = GgufMaker(version, order)
    maker.data += b"GGUF"
    maker.number(version, "I")
    maker.length(len(tensors))
    maker.length(len(metadata))
    for key, value in metadata.items():
        maker.text(key)
        maker.value(value)
    offset = 0
    for name, shape, kind in tensors:
        maker.text(name)
        maker.number(len(shape), "I")
        elements = 1
        for side in shape:
            maker.length(side)
            elements *= side
        maker.number(kind, "I")
        maker.number(offset, "Q")
        offset += -(-(elements * 4 if kind == 0 else elements // 256 * 144) // 32) * 32
    maker.data += b"\0" * (-len(maker.data) % 32) + b"\1" * offset
    return maker


def write(path: Path, **more: Any) -> Path:
    """A model file at `path`; `more` goes to `make`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make(**more).data)
    return path

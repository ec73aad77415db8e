"""Reads the header of a GGUF file: what the model is, without opening its weights.

The file is untrusted. On any file the reader ends within about a second of work, holds a few megabytes,
and either gives a GgufHeader or raises GgufError that says in people's words what the file is instead.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modules.formats.bad_file import START, bad_file
from modules.formats.gguf_cursor import Cursor, EndOfFile, TooMuch
from modules.formats.gguf_error import GgufError, damaged
from modules.formats.gguf_tables import (
    ARRAY,
    FILE_TYPES,
    FIM_KEYS,
    FIM_TOKENS,
    MAGIC,
    OLD_MAGICS,
    SCALARS,
    STRING,
    TENSOR_TYPES,
)
from modules.formats.gguf_tensors import TensorTable, read_tensors
from modules.formats.problems import Problem, Reason
from modules.formats.weights import Groups

__all__ = ["GgufError", "GgufHeader", "megabytes", "read_header"]

MetaValue = int | float | bool | str | tuple[int | float | bool, ...]

MAX_KEYS = 20_000
MAX_TENSORS = 100_000
MAX_KEY = 65_535
MAX_TEXT = 1024 * 1024  # a chat template; real ones have up to 30 kB
MAX_KEPT = 4 * 1024 * 1024  # bytes of all that is kept of one header
MAX_KEPT_ARRAY = 1024  # per-layer numbers; vocabularies are skipped
_GUESSED = 1024  # a bit in general.file_type: "not stated by the one who made it" (llama.h)
_TEMPLATE = "tokenizer.chat_template"
_TOKENS, _LANGUAGES = "tokenizer.ggml.tokens", "general.languages"
_FIRST, _LAST = 64, 3000  # where in a vocabulary special tokens stand


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself. A number it does not give is None, a text "".

    kind            "model", "adapter", "mmproj" (image or audio part of a model) or another general.type
    quant           name of the quantisation; from general.file_type, else from the tensors
    context_length  tokens the model was trained for
    head_count_kv   the largest where layers differ
    parameters      weights in this file, which may be one part of several
    split_no, split_count  part number from 0, and how many parts; 0 and 1 for a whole model
    languages       as the makers wrote them
    fim             whether its vocabulary has the tokens for filling in the middle
    weights         bytes of the weights in this file; None where a tensor type is not known
    groups          the same by block
    types           the same by tensor type ("Q4_K")
    metadata        every plain value of the header and short lists of numbers
    """

    version: int
    big_endian: bool
    size: int
    kind: str
    architecture: str
    name: str
    quant: str
    context_length: int | None
    block_count: int | None
    embedding_length: int | None
    head_count: int | None
    head_count_kv: int | None
    vocabulary: int | None
    tensor_count: int
    parameters: int | None
    chat_template: str
    tokenizer: str
    split_no: int = 0
    split_count: int = 1
    languages: tuple[str, ...] = ()
    fim: bool = False
    weights: int | None = None
    groups: Groups = field(default_factory=Groups)
    types: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, MetaValue] = field(default_factory=dict)


def read_header(path: Path) -> GgufHeader:
    """The header of the file at `path`. Raises GgufError, and nothing else, for anything wrong with it."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe or a device would wait for ever
            raise GgufError(Problem.of(Reason.NOT_ORDINARY))
        with path.open("rb") as file:
            return _Reader(Cursor(file, found.st_size)).header()
    except OSError as error:
        raise GgufError(Problem.of(Reason.CANNOT_OPEN, error=error.strerror or error)) from error
    except EndOfFile:
        raise GgufError(Problem.of(Reason.CUT_HEADER, there=megabytes(found.st_size))) from None
    except TooMuch:
        raise GgufError(Problem.of(Reason.HEADER_TOO_LARGE)) from None
    except (struct.error, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise damaged(str(error)) from error


def megabytes(count: int) -> str:
    """A size for people: kB, MB or GB with at most one decimal."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6)):
        if count >= factor:
            amount = count / factor
            return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
    return f"{count / 1000:.0f} kB" if count >= 1000 else f"{count} bytes"


def _not_gguf(start: bytes, size: int) -> GgufError:
    """What a file that does not begin with GGUF is instead, from its first bytes."""
    if found := bad_file(start, size):
        return GgufError(found.problem)
    if start[:4] in OLD_MAGICS:
        return GgufError(Problem.of(Reason.OLD_GGML, format=OLD_MAGICS[start[:4]]))
    if start[:4] == b"PK\x03\x04":
        return GgufError(Problem.of(Reason.IS_ZIP))
    if start[8:10] == b'{"':
        return GgufError(Problem.of(Reason.IS_SAFETENSORS))
    return GgufError(Problem.of(Reason.NOT_GGUF))


class _Reader:
    """One pass over one header."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._length = "Q"
        self._meta: dict[str, MetaValue] = {}
        self._lengths: dict[str, int] = {}
        self._kept = 0
        self._languages: tuple[str, ...] = ()
        self._fim = False

    def header(self) -> GgufHeader:
        cursor = self._cursor
        start = cursor.take(min(cursor.size, START))
        if start[:4] != MAGIC:
            raise _not_gguf(start, cursor.size)
        cursor.rewind_to(len(MAGIC))
        version = cursor.number("I")
        big_endian = version & 0xFFFF == 0
        if big_endian:
            cursor.order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (1, 2, 3):
            raise GgufError(Problem.of(Reason.GGUF_VERSION, version=version))
        self._length = "I" if version == 1 else "Q"
        tensors, keys = cursor.number(self._length), cursor.number(self._length)
        if keys > MAX_KEYS or tensors > MAX_TENSORS:
            raise damaged(f"it claims {keys} entries and {tensors} tensors")
        for _ in range(keys):
            self._entry()
        return self._made(version, big_endian, tensors, self._tensors(tensors))

    def _text(self, limit: int) -> str:
        length = self._cursor.number(self._length)
        if length > limit and length <= self._cursor.size - self._cursor.position:
            raise damaged(f"a text in it claims {length} bytes")
        return self._cursor.take(length).decode("utf-8", "replace")

    def _entry(self) -> None:
        self._cursor.check_time()
        key = self._text(MAX_KEY)
        self._kept += len(key)
        if self._kept > MAX_KEPT:
            raise TooMuch
        if key in self._meta or key in self._lengths:
            raise damaged(f"the entry {key[:80]!r} is there twice")
        kind = self._cursor.number("I")
        if kind in SCALARS:
            self._meta[key] = self._cursor.value(SCALARS[kind])
        elif kind == STRING:
            self._string(key)
        elif kind == ARRAY:
            self._array(key)
        else:
            raise damaged(f"the entry {key[:80]!r} has the unknown type {kind}")

    def _string(self, key: str) -> None:
        length = self._cursor.number(self._length)
        if length > MAX_TEXT or self._kept + length > MAX_KEPT:
            self._cursor.skip(length)
            self._lengths[key] = length
            return
        self._kept += length
        self._meta[key] = self._cursor.take(length).decode("utf-8", "replace")

    def _array(self, key: str) -> None:
        kind, count = self._cursor.number("I"), self._cursor.number(self._length)
        self._lengths[key] = count
        if kind == STRING:
            self._strings(key, count)
        elif kind not in SCALARS:
            raise damaged(f"the list {key[:80]!r} has the unknown type {kind}")
        elif count <= MAX_KEPT_ARRAY and self._kept + 32 * count <= MAX_KEPT:
            self._kept += 32 * count  # what a number takes in Python
            size = struct.calcsize("<" + SCALARS[kind]) * count
            values = struct.unpack(f"{self._cursor.order}{count}{SCALARS[kind]}", self._cursor.take(size))
            self._meta[key] = values
        else:
            self._cursor.skip(struct.calcsize("<" + SCALARS[kind]) * count)

    def _strings(self, key: str, count: int) -> None:
        """A list of texts: skipped, but for the languages and both ends of the vocabulary, where marks stand."""
        if key == _LANGUAGES and count <= 256:
            self._languages = tuple(self._text(256) for _ in range(count))
        elif key == _TOKENS and count > _LAST:
            self._look_for_fim(min(_FIRST, count - _LAST))
            self._cursor.skip_strings(count - _LAST - min(_FIRST, count - _LAST), self._length)
            self._look_for_fim(_LAST)
        elif key == _TOKENS:
            self._look_for_fim(count)
        else:
            self._cursor.skip_strings(count, self._length)

    def _look_for_fim(self, count: int) -> None:
        cursor, width = self._cursor, 4 if self._length == "I" else 8
        if count * width > cursor.size - cursor.position:
            raise EndOfFile
        cursor.check_time()
        for _ in range(count):
            length = cursor.number(self._length)
            if 5 <= length <= 24:
                self._fim |= cursor.take(length) in FIM_TOKENS
            else:
                cursor.skip(length)

    def _tensors(self, count: int) -> TensorTable:
        """The tensors. Raises GgufError when the file ends before its last one."""
        cursor = self._cursor
        table = read_tensors(cursor, count, self._length)
        end = table.end
        alignment = self._int("general.alignment") or 32
        if not 1 <= alignment <= 2**20:
            raise damaged(f"its alignment is {alignment}")
        whole = -(-cursor.position // alignment) * alignment + end if end else cursor.position
        if whole > cursor.size:
            raise GgufError(Problem.of(Reason.CUT_SHORT, there=megabytes(cursor.size), whole=megabytes(whole)))
        return table

    def _int(self, key: str) -> int | None:
        """A whole number of the header; the largest where it is a list."""
        value = self._meta.get(key)
        if isinstance(value, tuple):
            value = max((one for one in value if isinstance(one, int)), default=None)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None

    def _str(self, key: str) -> str:
        value = self._meta.get(key, "")
        return value if isinstance(value, str) else ""

    def _kind(self, architecture: str) -> str:
        """What the file is; older files do not have general.type."""
        if architecture == "clip" or "clip.projector_type" in self._meta:
            return "mmproj"
        if "adapter.type" in self._meta:
            return "adapter"
        if any(name.startswith("imatrix.") for name in self._meta) or any(
            name.startswith("imatrix.") for name in self._lengths
        ):
            return "imatrix"
        if architecture == "controlvector":
            return "control-vector"
        return self._str("general.type") or "model"

    def _quant(self, weights: Mapping[int, int]) -> str:
        file_type = self._int("general.file_type")
        if file_type is not None and file_type & ~_GUESSED in FILE_TYPES:
            return FILE_TYPES[file_type & ~_GUESSED]
        if not weights:
            return ""
        kind = max(weights, key=lambda number: weights[number])
        return TENSOR_TYPES[kind].name if kind in TENSOR_TYPES else f"type {kind}"

    def _made(self, version: int, big_endian: bool, tensors: int, table: TensorTable) -> GgufHeader:
        weights = table.elements
        architecture = self._str("general.architecture")
        if not re.fullmatch(r"[\w.-]{0,64}", architecture):
            raise damaged("the name of its architecture is not a name")
        parts = self._int("split.count") or 1
        return GgufHeader(
            version=version,
            big_endian=big_endian,
            size=self._cursor.size,
            kind=self._kind(architecture),
            architecture=architecture,
            name=self._str("general.name")[:200],
            quant=self._quant(weights),
            context_length=self._int(f"{architecture}.context_length"),
            block_count=self._int(f"{architecture}.block_count"),
            embedding_length=self._int(f"{architecture}.embedding_length"),
            head_count=self._int(f"{architecture}.attention.head_count"),
            head_count_kv=self._int(f"{architecture}.attention.head_count_kv"),
            vocabulary=self._lengths.get("tokenizer.ggml.tokens"),
            tensor_count=tensors,
            parameters=sum(weights.values()) if weights else None,
            chat_template=self._str(_TEMPLATE),
            tokenizer=self._str("tokenizer.ggml.model"),
            split_no=self._int("split.no") or 0,
            split_count=max(1, parts),
            languages=self._languages,
            fim=self._fim or any(key in self._meta for key in FIM_KEYS),
            weights=table.size,
            groups=table.groups,
            types={
                TENSOR_TYPES[kind].name: count // TENSOR_TYPES[kind].block * TENSOR_TYPES[kind].size
                for kind, count in weights.items()
                if kind in TENSOR_TYPES
            },
            metadata={name: value for name, value in self._meta.items() if name != _TEMPLATE},
        )

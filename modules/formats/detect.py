"""Says what a file or a folder is by what is in it, never by its name alone, and why it cannot run.

The one entrance is `detect`. It raises nothing: whatever is wrong becomes `problem` of the facts. Everything
read here is untrusted and read with bounds; nothing is unpickled, and no code that comes with a model is run.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from modules.formats.bad_file import START, bad_file
from modules.formats.endpoint import ENDING as ENDPOINT
from modules.formats.endpoint import EndpointError, read_endpoint
from modules.formats.facts import ModelFacts
from modules.formats.foreign import foreign_file, is_piece
from modules.formats.gguf import GgufError, GgufHeader, read_header
from modules.formats.gguf_facts import gguf_facts
from modules.formats.hf_folder import folder_facts
from modules.formats.loose_safetensors import loose_facts
from modules.formats.old_ggml import is_old_ggml, old_ggml_facts
from modules.formats.onnx import is_onnx, onnx_facts
from modules.formats.pickle_weights import is_pickle, pickle_facts
from modules.formats.plain_json import text_of
from modules.formats.problems import Problem, Reason
from modules.formats.safetensors import is_safetensors

UNREADABLE = "unreadable"
"""Key of `extra` where the disk refused: permissions change without a trace in the file, so it is not remembered."""
SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.(?P<ending>gguf|safetensors)", re.IGNORECASE)


def detect(path: Path, parts: Sequence[Path] = ()) -> ModelFacts:
    """What is at `path`: a file, the first part of a split model, or a folder.

    parts  all files of it, in order, where the caller knows them; () = they are looked for beside `path`
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return folder_facts(path)
        if not stat.S_ISREG(mode):  # opening a pipe or a device would wait for ever
            return ModelFacts("unknown", "other", problem=Problem.of(Reason.NOT_ORDINARY))
        return _file(path, tuple(parts))
    except OSError as error:
        return ModelFacts(
            "unknown", problem=Problem.of(Reason.CANNOT_OPEN, error=error.strerror or error), extra={UNREADABLE: True}
        )


def _file(path: Path, parts: tuple[Path, ...]) -> ModelFacts:
    size = path.stat().st_size
    if path.name.lower().endswith(ENDPOINT):
        return _endpoint(path, size)
    with path.open("rb") as file:
        start = file.read(START)
    if is_piece(path.name):
        return ModelFacts("unknown", size=size, problem=Problem.of(Reason.PIECE, name=text_of(path.name)))
    if start[:4] == b"GGUF":
        return _gguf(path, parts)
    if foreign := foreign_file(path.name, start):
        return ModelFacts(foreign.format, "other", size=size, problem=foreign.problem)
    if bad := bad_file(start, size, path.suffix):
        return ModelFacts(bad.format, size=size, problem=bad.problem)
    if is_old_ggml(start):
        return old_ggml_facts(start, size)
    if is_safetensors(start):
        return loose_facts(path, parts)
    if is_pickle(start):
        return pickle_facts(path, start, size)
    if is_onnx(start):
        return onnx_facts(start, size)
    ending = path.suffix.lower()
    if start[:4] in (b"ftrt", b"ptrt") or ending in (".engine", ".plan"):
        return ModelFacts("tensorrt-llm", size=size, problem=Problem.of(Reason.TENSORRT_ALONE))
    lacks = {".gguf": Reason.NOT_GGUF, ".safetensors": Reason.NOT_SAFETENSORS}
    return ModelFacts(
        "unknown",
        "model" if ending in lacks else "other",
        size=size,
        problem=Problem.of(lacks.get(ending, Reason.UNKNOWN_FORMAT)),
    )


def _endpoint(path: Path, size: int) -> ModelFacts:
    try:
        found = read_endpoint(path)
    except EndpointError as error:
        unreadable = {UNREADABLE: True} if isinstance(error.__cause__, OSError) else {}
        return ModelFacts("endpoint", size=size, problem=error.problem, extra=unreadable)
    return ModelFacts(
        "endpoint",
        name=found.model,
        size=size,
        context_length=found.context or None,
        capabilities=("images",) if found.images else (),
        extra={"sends_to": found.sends_to} if found.sends_to else {},
    )


def _gguf(path: Path, parts: tuple[Path, ...]) -> ModelFacts:
    """A GGUF model; one part that cannot be read speaks for all."""
    missing: tuple[int, ...] = ()
    match = SPLIT.fullmatch(path.name)
    if match:
        parts = parts or tuple(sorted(path.parent.glob(_literal(match["stem"]) + "-?????-of-" + match["count"] + ".*")))
        parts = tuple(part for part in parts if (one := SPLIT.fullmatch(part.name)) and one["stem"] == match["stem"])
        missing = missing_parts(parts, int(match["count"]))
    headers: list[GgufHeader] = []
    for part in parts or (path,):
        try:
            headers.append(read_header(part))
        except GgufError as error:
            if error.unreadable:
                return ModelFacts("gguf", problem=error.problem, extra={UNREADABLE: True})
            problem = error.problem
            if len(parts) > 1:
                problem = Problem.of(Reason.IN_PART, part=text_of(part.name), inner=problem)
            return ModelFacts("gguf", size=sum(_size(one) for one in parts or (path,)), problem=problem)
    return gguf_facts(headers, missing)


def missing_parts(parts: Sequence[Path], count: int) -> tuple[int, ...]:
    """Numbers, from 1, of the parts of a split model that are not among `parts`; at most 1000."""
    there = {int(match["number"]) for part in parts if (match := SPLIT.fullmatch(part.name))}
    return tuple(number for number in range(1, min(count, 1000) + 1) if number not in there)


def _literal(text: str) -> str:
    """A name for glob, without its special signs."""
    return re.sub(r"([*?[])", r"[\1]", text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

"""Reads a JSON file somebody else made: bounded in size and nesting, with a reason when it is not as it should be."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from modules.formats.bad_file import START, bad_file
from modules.formats.problems import ModelFileError, Problem, Reason

MAX_BYTES = 4 * 1024 * 1024
_MAX_NESTED = 50_000  # objects and lists; each takes some hundred bytes once read
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


class JsonError(ModelFileError):
    """The file is not JSON that can be used; `problem` says why."""


def read_json(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object in the file at `path`, its texts ready to be sent on. Raises JsonError, and nothing else."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _error(Reason.NAMED_NOT_ORDINARY, path)
        if found.st_size > limit:
            raise _error(Reason.JSON_TOO_LARGE, path)
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise _error(Reason.NAMED_CANNOT_OPEN, path, error=error.strerror or error) from error
    if len(raw) > limit or raw.count(b"{") + raw.count(b"[") > _MAX_NESTED:
        raise _error(Reason.JSON_TOO_LARGE, path)
    if bad := bad_file(raw[:START], len(raw), ""):
        raise _error(Reason.IN_FILE, path, inner=bad.problem)
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _error(Reason.JSON_DAMAGED, path) from error
    if not isinstance(value, dict):
        raise _error(Reason.JSON_NO_OBJECT, path)
    return {text_of(name): _sendable(one) for name, one in value.items()} if _SURROGATE.search(raw) else value


def text_of(text: str) -> str:
    """A text without half surrogates, which JSON may hold (`"\\ud800"`) and no answer can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _sendable(value: Any) -> Any:
    """The same value with such texts. As deep as the JSON reader goes, which ends before Python's stack does."""
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, list):
        return [_sendable(one) for one in value]
    if isinstance(value, dict):
        return {text_of(name): _sendable(one) for name, one in value.items()}
    return value


def _error(code: Reason, path: Path, **values: object) -> JsonError:
    return JsonError(Problem.of(code, file=text_of(path.name), **values))

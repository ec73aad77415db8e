"""Reads a JSON file somebody else made: bounded in size and nesting, with a reason when it is not as it should be."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from modules.errors import Unsupported
from modules.formats.bad_file import AGAIN, START, bad_file

MAX_BYTES = 4 * 1024 * 1024
_MAX_NESTED = 50_000  # objects and lists; each takes some hundred bytes once read


class JsonError(Unsupported):
    """The file is not JSON that can be used; the message says why."""

    code = "bad_model_file"


def read_json(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object in the file at `path`. Raises JsonError, and nothing else."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise JsonError(f"{path.name} is not an ordinary file.")
        if found.st_size > limit:
            raise JsonError(f"{path.name} is far larger than that of any real model.", hint=AGAIN)
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise JsonError(f"{path.name} cannot be opened: {error.strerror or error}.") from error
    if len(raw) > limit or raw.count(b"{") + raw.count(b"[") > _MAX_NESTED:
        raise JsonError(f"{path.name} is far larger than that of any real model.", hint=AGAIN)
    if found_bad := bad_file(raw[:START], len(raw), ""):
        raise JsonError(f"{path.name}: {found_bad.message}", hint=found_bad.hint)
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"{path.name} is not JSON: it is damaged or cut short.", hint=AGAIN) from error
    if not isinstance(value, dict):
        raise JsonError(f"{path.name} holds something else than names and values.", hint=AGAIN)
    return value

"""Reads a YAML file of names and values; one that holds something else is put aside like a broken one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modules.disk.durable import LAST_GOOD, durable_write, put_aside, read_yaml
from modules.errors import StorageError


def read_mapping(path: Path, *, by_hand: bool = False) -> tuple[dict[str, Any] | None, list[str]]:
    """The values by name and what was wrong, in people's words. A missing file is (None, []), an empty one ({}, []).

    A file that is broken or holds no names is moved to `<name>.corrupt-<time>` and the last good copy is used
    in its place; without one the values are None. `by_hand`: people edit this file, so what is good now is
    the copy from now on. Raises nothing.
    """
    value, problem = read_yaml(path)
    problems = [problem] if problem else []
    if value is None:
        return ({} if path.is_file() and not problem else None), problems
    if isinstance(value, dict):
        if by_hand and not problem:
            read_yaml(path, keep_copy=True)
        return {str(name): one for name, one in value.items()}, problems
    return _recovered(path, problems)


def _recovered(path: Path, problems: list[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """The last good copy in the place of a file that holds something else."""
    what = f"{path.name} does not hold lines of “name: value”."
    try:
        what += f" It is kept as {put_aside(path, 'corrupt').name}."
        copy = path.parent / LAST_GOOD / path.name
        raw = copy.read_bytes() if copy.is_file() else b""
        if raw:
            durable_write(path, raw)
            value, _ = read_yaml(path)
            if isinstance(value, dict):
                used = {str(name): one for name, one in value.items()}
                return used, [*problems, what + " The last good copy is used."]
    except (OSError, StorageError) as error:
        what += f" It could not be repaired: {error}"
    return None, [*problems, what + " There is no earlier copy, so defaults are used."]

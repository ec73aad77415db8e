"""Folders whose subfolders are parts of one model: Diffusers pipelines and sentence-transformers models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modules.formats.plain_json import JsonError, read_json

_LARGEST = 1024 * 1024


def is_pipeline(folder: Path) -> bool:
    """Whether model_index.json in `folder` is that of a Diffusers pipeline: it names the pipeline's class."""
    return isinstance(_read(folder).get("_class_name"), str)


def part_folders(folder: Path) -> frozenset[str]:
    """Names of the subfolders that are parts of the model in `folder`, and no models of their own."""
    index = _read(folder)
    parts = {name for name, one in index.items() if isinstance(one, list)} if "_class_name" in index else set()
    return frozenset(parts | set(_modules(folder / "modules.json")))


def _read(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "model_index.json")
    except JsonError:  # a file that is no index says nothing of the folders beside it
        return {}


def _modules(path: Path) -> list[str]:
    """The folders of a sentence-transformers modules.json: a list of {"path": …}."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return []
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    paths = [one.get("path") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [path.split("/")[0] for path in paths if isinstance(path, str)]

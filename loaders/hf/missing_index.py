"""Writes the index that a Hugging Face model in parts lacks: Transformers opens no parts without one (vLLM does)."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from modules.errors import LoadFailed

INDEX = "model.safetensors.index.json"
_LARGEST_HEADER = 32 * 1024 * 1024  # modules/formats/safetensors.py refuses larger ones in the list already


def with_index(folder: Path, scratch: str) -> Path:
    """`folder`, or where it has parts and no index a folder in `scratch` with links to its files and an index.

    Raises LoadFailed when a tensor is in two files: then it is not known which of them is meant.
    """
    parts = sorted(
        path for path in folder.glob("*.safetensors") if not path.name.startswith(("consolidated", "adapter_"))
    )
    if not parts or (folder / "model.safetensors").exists() or (folder / INDEX).exists():
        return folder
    where: dict[str, str] = {}
    for part in parts:
        for name in _tensors(part):
            if name in where:
                raise LoadFailed(
                    f"{where[name]} and {part.name} both hold {name}, and there is no {INDEX} that says which counts.",
                    hint=f"Download {INDEX} into the folder, or keep one set of weights there.",
                )
            where[name] = part.name
    made = Path(scratch) / f"indexed-{os.getpid()}"
    made.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file() and path.name != INDEX:
            _link(path, made / path.name)
    total = sum(part.stat().st_size for part in parts)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (made / INDEX).write_text(json.dumps(index), encoding="utf-8")
    return made


def _tensors(part: Path) -> Iterator[str]:
    """Names of the tensors in a safetensors file, from its header."""
    with part.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _LARGEST_HEADER:
            raise LoadFailed(f"The header of {part.name} is damaged.", hint="Download it again.")
        yield from (name for name in json.loads(file.read(length)) if name != "__metadata__")


def _link(source: Path, target: Path) -> None:
    """A link that costs no room: symbolic, or a second name of the file where the system allows no other."""
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(source.resolve())
    except OSError:
        try:
            os.link(source, target)
        except OSError as error:
            raise LoadFailed(
                f"The model lacks {INDEX}, and no links could be made to load it without: {error}",
                hint=f"Download {INDEX} into the model's folder.",
            ) from error

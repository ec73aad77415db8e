"""Reads the few lines on top of a model's README.md that say what it is for: languages, task, base model."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from modules.formats.language_codes import language_codes

_MOST = 64 * 1024
_FIELD = re.compile(r"(\w[\w-]{0,40}):[ \t]*(.*)")
_WANTED = ("language", "pipeline_tag", "base_model", "library_name", "tags")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the makers state. Everything is empty where there is no card."""

    languages: tuple[str, ...] = ()
    task: str = ""
    base: str = ""
    library: str = ""
    tags: tuple[str, ...] = ()


def read_card(path: Path) -> ModelCard:
    """The card at `path`. Line by line rather than as YAML: a few plain fields are wanted, of a file nobody checked.

    Never raises: a card that cannot be read says nothing.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            return ModelCard()
        with path.open("rb") as file:
            text = file.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return ModelCard()
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return ModelCard()
    fields = _fields(lines[1:])
    one = {name: values[0][:200] for name, values in fields.items() if values}
    return ModelCard(
        language_codes(fields.get("language", ())), one.get("pipeline_tag", ""), one.get("base_model", ""),
        one.get("library_name", ""), tuple(tag[:60] for tag in fields.get("tags", ())[:64]),
    )  # fmt: skip


def _fields(lines: list[str]) -> dict[str, list[str]]:
    """The wanted fields, each a list of texts, up to the line that ends the block."""
    fields: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        if line.strip() in ("---", "..."):
            break
        if (match := _FIELD.match(line)) is not None:
            current = fields.setdefault(match[1], []) if match[1] in _WANTED else None
            if current is not None and match[2].strip():
                inline = match[2].strip()
                pieces = inline[1:-1].split(",") if inline.startswith("[") and inline.endswith("]") else [inline]
                current.extend(piece.strip().strip("\"'") for piece in pieces if piece.strip())
        elif current is not None and line.lstrip().startswith("- "):
            current.append(line.lstrip()[2:].strip().strip("\"'"))
        elif line.strip() and not line.startswith((" ", "\t", "#")):
            current = None
    return fields

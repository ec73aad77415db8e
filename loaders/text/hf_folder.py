"""A Hugging Face model folder, read without any library: config.json, and the context length to load with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.errors import LoadFailed
from modules.types import Decision

DEFAULT_CONTEXT = 8192
SMALLEST_CONTEXT = 64


def check_folder(path: Path) -> None:
    """Refuse what can be seen without torch. Raises LoadFailed."""
    if path.suffix == ".gguf":
        return
    config = read_config(path)
    if config.get("auto_map") and not config.get("model_type"):
        raise LoadFailed(
            "This model can only be run by program code out of its own folder, which is not run here.",
            hint="Look for a GGUF of it, or a version in a format Transformers knows by itself.",
        )


def folder_of(path: Path) -> Path:
    """The folder of a model that is named by its folder or by one of its files."""
    return path if path.is_dir() else path.parent


def read_config(path: Path) -> Mapping[str, Any]:
    """A model's config.json. Raises LoadFailed when there is none that can be read."""
    file = folder_of(path) / "config.json"
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise LoadFailed("The folder has no config.json, so it is not known what model this is.",
                         hint="Download the whole folder, not only the weights.") from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise LoadFailed(f"The model's config.json cannot be read: {error}",
                         hint="Download it again.") from error  # fmt: skip
    if not isinstance(value, dict):
        raise LoadFailed("The model's config.json holds no settings.", hint="Download it again.")
    return value


def choose_context(wanted: int, trained: int | None) -> Decision[int]:
    """The context to load with, in tokens. `trained` is what the files say, None when they say nothing."""
    if wanted and trained and wanted > trained:
        return Decision(trained, f"{wanted:,} tokens were asked for, but the model was trained for {trained:,}.")
    if wanted:
        return Decision(max(wanted, SMALLEST_CONTEXT), "It was asked for.")
    if trained is None:
        return Decision(DEFAULT_CONTEXT, "The files do not say what the model was trained for, so a usual value.")
    if trained <= DEFAULT_CONTEXT:
        return Decision(trained, "It is what the model was trained for.")
    return Decision(
        DEFAULT_CONTEXT,
        f"The model was trained for {trained:,} tokens; {DEFAULT_CONTEXT:,} keeps the memory small. "
        "Set context for more.",
    )

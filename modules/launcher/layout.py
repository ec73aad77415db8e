"""Where things are: the checkout, its virtual environment, the person's own folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MODEL_SUFFIXES = frozenset({".gguf", ".safetensors"})


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders of one installation. All paths are absolute.

    root       the checkout, where start.py and server.py are
    user_data  what belongs to the person; `--user-data-dir` moves it
    models     where models are; `--models-dir` moves it
    """

    root: Path
    user_data: Path
    models: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment; it may not exist yet."""
        return self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def stamp(self) -> Path:
        return self.venv / "enginehouse.json"

    @property
    def log(self) -> Path:
        return self.venv / "install.log"

    @property
    def run_file(self) -> Path:
        """Written by the server once it listens: {"url": …, "port": …, "pid": …}."""
        return self.user_data / "run.json"

    def requirements(self, group: str) -> Path:
        return self.root / "requirements" / f"{group}.txt"


def find_layout(root: str | Path, user_data: str, models: str, environ: Mapping[str, str]) -> Layout:
    """The folders: what was typed ("" = nothing), else the environment as the server reads it, else the defaults."""
    user_data = user_data or environ.get("ENGINEHOUSE_USER_DATA_DIR", "")
    models = models or environ.get("ENGINEHOUSE_MODELS_DIR", "")
    home = Path(user_data).expanduser().absolute() if user_data else Path(root).absolute() / "user_data"
    return Layout(Path(root).absolute(), home, Path(models).expanduser().absolute() if models else home / "models")


def has_a_model(models: Path) -> bool:
    """True when the folder holds weights of any kind, itself or up to three folders down."""
    if not models.is_dir():
        return False
    depth = len(models.parts)
    for folder, below, names in os.walk(models):
        if any(Path(name).suffix.lower() in MODEL_SUFFIXES for name in names):
            return True
        if len(Path(folder).parts) - depth >= 3:
            below.clear()
    return False

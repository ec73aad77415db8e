"""Where things are: the checkout, its virtual environment, the person's own folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# One line of settings.yaml: the launcher has no YAML parser, and the server writes this setting in one line.
_MODELS_DIR = re.compile(
    r"""^models_dir[ \t]*:[ \t]+(?:"(?P<double>(?:[^"\\\r\n]|\\.)*)"|'(?P<single>(?:[^'\r\n]|'')*)'"""
    r"""|(?P<plain>[^\s#"'].*?))[ \t]*(?:[ \t]#.*)?\r?$""",
    re.MULTILINE,
)
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
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
    """The folders: what was typed ("" = nothing), else what the server would take.

    That is the environment, then for the models `models_dir` of settings.yaml, then the defaults.
    """
    user_data = user_data or environ.get("ENGINEHOUSE_USER_DATA_DIR", "")
    models = models or environ.get("ENGINEHOUSE_MODELS_DIR", "")
    home = Path(user_data).expanduser().absolute() if user_data else Path(root).absolute() / "user_data"
    if models:
        return Layout(Path(root).absolute(), home, Path(models).expanduser().absolute())
    # A relative folder in the file means one beside it, as in modules/settings/store.py.
    return Layout(Path(root).absolute(), home, home / Path(_stored_models(home) or "models").expanduser())


def _stored_models(home: Path) -> str:
    """`models_dir` of the settings file, "" when it is not set or the file cannot be read."""
    try:
        text = (home / "settings.yaml").read_text("utf-8-sig")
    except (OSError, ValueError):
        return ""  # no file yet, or one the server will speak about
    found = _MODELS_DIR.search(text)
    if found is None:
        return ""
    if (quoted := found["double"]) is not None:
        try:
            return str(json.loads(f'"{quoted}"'))
        except ValueError:
            return quoted  # an escape that only YAML has
    if (quoted := found["single"]) is not None:
        return quoted.replace("''", "'")
    return "" if found["plain"] in _NOTHING else str(found["plain"])


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

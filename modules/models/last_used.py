"""Which model was used last, and with which loader and settings each: `models.yaml` in the user-data folder."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.disk.durable import read_yaml, write_yaml
from modules.errors import StorageError

_COMMENT = "How each model was loaded last. The program writes this file after every load; you may edit it."


class LastUsed:
    """Reads once, writes after each load. A disk that refuses costs the memory of it, not the load."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        value, problem = read_yaml(file)
        self.problems: list[str] = [problem] if problem else []
        data = value if isinstance(value, dict) else {}
        last, models = data.get("last"), data.get("models")
        self.last: str | None = last if isinstance(last, str) else None
        self._models: dict[str, dict[str, Any]] = {
            str(name): entry
            for name, entry in (models.items() if isinstance(models, dict) else ())
            if isinstance(entry, dict)
        }

    def of(self, model: str) -> tuple[str | None, Mapping[str, Any]]:
        """(loader, settings) this model was last loaded with; (None, {}) for a new one."""
        entry = self._models.get(model, {})
        loader, settings = entry.get("loader"), entry.get("settings")
        return (loader if isinstance(loader, str) else None, dict(settings) if isinstance(settings, dict) else {})

    def remember(self, model: str, loader: str, settings: Mapping[str, Any]) -> None:
        """Keep what a model was loaded with; `settings` holds only what differs from the defaults."""
        with self._lock:
            self.last = model
            self._models[model] = {"loader": loader, "settings": dict(settings)}
            try:
                write_yaml(self._file, {"last": self.last, "models": self._models}, comment=_COMMENT)
            except StorageError as error:
                self.problems.append(error.message)

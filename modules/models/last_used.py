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

    def settings_of(self, model: str, loader: str) -> Mapping[str, Any]:
        """What this model was loaded with last by that loader, where it differs from the defaults."""
        entry = self._models.get(model, {})
        if entry.get("loader") == loader:
            return self.of(model)[1]
        others = entry.get("others")
        settings = others.get(loader) if isinstance(others, dict) else None
        return dict(settings) if isinstance(settings, dict) else {}

    def remember(self, model: str, loader: str, settings: Mapping[str, Any]) -> None:
        """Keep what a model was loaded with; `settings` holds only what differs from the defaults."""
        with self._lock:
            self.last = model
            others = self._others(model)
            others.pop(loader, None)
            more = {"others": others} if others else {}
            self._models[model] = {"loader": loader, "settings": dict(settings), **more}
            self._write()

    def forget(self, model: str, loader: str) -> None:
        """Drop what is kept of that model and loader, so that the loader's defaults are used again."""
        with self._lock:
            entry = self._models.get(model)
            if entry is None:
                return
            others = self._others(model)
            others.pop(loader, None)
            kept = others.pop(str(entry.get("loader")), {})
            self._models[model] = {
                "loader": entry.get("loader"), "settings": dict(kept), **({"others": others} if others else {}),
            }  # fmt: skip
            self._write()

    def _others(self, model: str) -> dict[str, Any]:
        """Settings of that model under other loaders than its last one, and of its last one."""
        entry = self._models.get(model, {})
        others = entry.get("others")
        kept = {str(name): one for name, one in others.items()} if isinstance(others, dict) else {}
        loader, settings = self.of(model)
        return {**kept, loader: dict(settings)} if loader and settings else kept

    def _write(self) -> None:
        try:
            write_yaml(self._file, {"last": self.last, "models": self._models}, comment=_COMMENT)
        except StorageError as error:
            self.problems.append(error.message)

"""What a person has set for the next load of a model, before the model is loaded with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loaders.base import LoaderSpec
from modules.errors import BadParameter
from modules.types import ParamValue


@dataclass(slots=True)
class LoadDrafts:
    """Changed settings per model and loader, for the life of the server.

    They stand here and not in the page, so that loading needs no more than a name, and so that two windows
    show the same. A load makes them the model's last used settings, which `ModelPool` keeps on disk.
    """

    _changed: dict[tuple[str, str], dict[str, ParamValue]] = field(default_factory=dict)
    _loader: dict[str, str] = field(default_factory=dict)

    def set(self, model: str, spec: LoaderSpec, name: str, value: Any) -> ParamValue:
        """Keep one checked value. Raises BadParameter."""
        checked = spec.check_settings({name: value})[name]
        self._changed.setdefault((model, spec.name), {})[name] = checked
        return checked

    def choose(self, model: str, loader: str) -> None:
        """The person picked this loader for the model."""
        self._loader[model] = loader

    def loader(self, model: str) -> str | None:
        """The loader the person picked, if they did."""
        return self._loader.get(model)

    def values(self, model: str, spec: LoaderSpec, last: Mapping[str, Any]) -> dict[str, ParamValue]:
        """Complete settings: defaults, over them what the model was last loaded with, over them the changes."""
        changed = self._changed.get((model, spec.name), {})
        known = {param.name for param in spec.params}
        used = {name: value for name, value in last.items() if name in known}
        try:
            return spec.check_settings(used | changed)
        except BadParameter:  # models.yaml was edited, or the loader's ranges are others now
            return spec.check_settings(changed)

    def put(self, model: str, spec: LoaderSpec, settings: Mapping[str, Any]) -> None:
        """These are the settings now, all of them. Raises BadParameter."""
        self._changed[model, spec.name] = spec.check_settings(settings)
        self.choose(model, spec.name)

    def forget(self, model: str, spec: LoaderSpec) -> None:
        """Back to the defaults for this model and loader, whatever was used last."""
        self._changed[model, spec.name] = {param.name: param.default for param in spec.params}

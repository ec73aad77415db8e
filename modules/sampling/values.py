"""The sampling values in use: complete, checked, saved with every change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from modules.disk.durable import write_yaml
from modules.disk.yaml_mapping import read_mapping
from modules.errors import BadParameter, EnginehouseError
from modules.sampling.params import BY_NAME, CANONICAL, PARAMS, check_values, starting_values, without_neutral
from modules.sampling.presets import Preset, Presets
from modules.settings.paths import Paths
from modules.types import ParamValue

OnChange = Callable[[Mapping[str, ParamValue], str | None], None]
START_PRESET = "Balanced"
"""The preset whose values a fresh installation uses."""
_COMMENT = "The sampling values in use; what is not here is neutral. The program writes this file with every change."


class ParamValues:
    """One set of values for the chat, the notebook and whatever an API request leaves out. Thread-safe.

    values     every parameter by name, a snapshot that never changes; `set` puts a new one in its place
    on_change  called with what changed and the preset's name, in the order of the changes, from the thread that
               made them; must not wait
    problems   what was wrong with params.yaml or the preset in use, in people's words
    """

    def __init__(self, paths: Paths, presets: Presets) -> None:
        self.problems: list[str] = []
        self.on_change: list[OnChange] = []
        self._presets = presets
        self._file = paths.params_file
        self._lock = threading.RLock()
        self._unknown: dict[str, Any] = {}
        self._preset: str | None = None
        self._base: Mapping[str, ParamValue] = {}
        self._values: Mapping[str, ParamValue] = MappingProxyType(starting_values())
        self._read()
        if self._preset is None:
            self._preset, self._base = self._start_preset(self._values)

    @property
    def values(self) -> Mapping[str, ParamValue]:
        """Every parameter by name."""
        return self._values

    @property
    def preset(self) -> str | None:
        """The preset the values came from, None when there is none or it was deleted."""
        return self._preset if self._preset is not None and self._presets.has(self._preset) else None

    @property
    def modified(self) -> bool:
        """Whether a value was changed since the preset was loaded."""
        return self.preset is not None and any(self._values[name] != value for name, value in self._base.items())

    def set(self, changes: Mapping[str, Any]) -> dict[str, ParamValue]:
        """Set values by name or alias, all or none; gives those that really changed.

        Raises: BadParameter naming the wrong one, StorageError when the disk refuses (nothing is changed then).
        """
        checked = check_values(changes)
        with self._lock:
            return self._put(checked, self._preset, self._base)

    def load_preset(self, name: str) -> dict[str, ParamValue]:
        """Make a preset's values those in use; gives what changed.

        What the preset leaves out becomes neutral, but for what belongs to the person (seed, reply length …):
        that changes only when the preset names it. Raises NotFound, BadRequest, StorageError.
        """
        preset = self._presets.read(name)
        base = _base(preset)
        with self._lock:
            self.problems[:] = preset.problems
            return self._put(base, name, base)

    def reset(self) -> dict[str, ParamValue]:
        """Back to the values of a fresh installation and the preset they are; gives what changed."""
        values = starting_values()
        with self._lock:
            return self._put(values, *self._start_preset(values))

    def _start_preset(self, values: Mapping[str, ParamValue]) -> tuple[str | None, Mapping[str, ParamValue]]:
        """(START_PRESET, every value it sets) when `values` are its values, else (None, {})."""
        if not self._presets.has(START_PRESET):
            return None, {}
        base = _base(self._presets.read(START_PRESET))
        equal = all(values[name] == value for name, value in base.items())
        return (START_PRESET, base) if equal else (None, {})

    def _put(
        self, wanted: Mapping[str, ParamValue], preset: str | None, base: Mapping[str, ParamValue]
    ) -> dict[str, ParamValue]:
        changed = {name: value for name, value in wanted.items() if self._values[name] != value}
        if not changed and preset == self._preset and base == self._base:
            return {}
        values = {**self._values, **changed}
        self._write(values, preset)
        self._values, self._preset, self._base = MappingProxyType(values), preset, base
        for callback in tuple(self.on_change):
            callback(changed, self.preset)
        return changed

    def _write(self, values: Mapping[str, ParamValue], preset: str | None) -> None:
        kept = {**without_neutral(values), **self._unknown}
        write_yaml(self._file, {"preset": preset, "values": kept}, comment=_COMMENT)

    def _read(self) -> None:
        """Take the values of params.yaml; what is wrong in it is named and starts as in a fresh installation."""
        raw, problems = read_mapping(self._file)
        self.problems.extend(problems)
        held = (raw or {}).get("values", {})
        if raw is None:
            return
        if not isinstance(held, dict):
            self.problems.append("params.yaml: “values” does not hold values by name; those of a new start are used.")
            return
        values: dict[str, ParamValue] = {param.name: param.default for param in PARAMS}
        for name, value in held.items():
            if name not in CANONICAL:
                self._unknown[str(name)] = value
                continue
            try:
                values.update(check_values({name: value}))
            except BadParameter as error:
                row = BY_NAME[CANONICAL[name]]
                values[row.name] = row.default if row.start is None else row.start
                self.problems.append(f"params.yaml: {error.message} {values[row.name]!r} is used.")
        self._values = MappingProxyType(values)
        self._take_preset(raw.get("preset"))

    def _take_preset(self, name: Any) -> None:
        if not isinstance(name, str) or not self._presets.has(name):
            return
        try:
            preset = self._presets.read(name)
        except EnginehouseError as error:
            self.problems.append(error.message)
            return
        self.problems.extend(preset.problems)
        self._preset, self._base = name, _base(preset)


def _base(preset: Preset) -> dict[str, ParamValue]:
    """Every value that loading this preset sets."""
    return {param.name: param.default for param in PARAMS if param.in_presets} | dict(preset.values)

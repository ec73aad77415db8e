"""The sampling parameters a reply is generated with: the values in use, or those of a preset for one reply."""

from __future__ import annotations

from collections.abc import Callable

from loaders import Registry
from modules.sampling.params import PARAMS, starting_values
from modules.sampling.presets import Presets
from modules.sampling.values import ParamValues
from modules.types import ParamValue


class ReplyParams:
    """Args:
    current   the values in use
    presets   sets of values by name
    registry  the loaders, each with the samplers it honours
    loader    the name of the loader that is in use or chosen; "" = none
    """

    def __init__(
        self, current: ParamValues, presets: Presets, registry: Registry, loader: Callable[[], str]
    ) -> None:  # fmt: skip
        self._current = current
        self._presets = presets
        self._registry = registry
        self._loader = loader

    def supported(self) -> list[str]:
        """Names the loaded (or chosen) loader honours; without one, those that any loader honours. Table order."""
        name = self._loader()
        specs = [spec for spec in self._registry.specs if spec.name == name] or self._registry.specs
        honoured = {sampler for spec in specs for sampler in spec.samplers}
        return [param.name for param in PARAMS if param.name in honoured]

    def values(self, preset: str = "") -> dict[str, ParamValue]:
        """The values in use; those a person never touched and this loader does not honour are left out.

        Else every reply of a plain loader would come with a notice for each starting value. With `preset`, its
        values and otherwise neutral ones in their place, but for what belongs to the person (seed, reply length …).
        Reads the disk for a preset; raises NotFound, BadRequest or StorageError for one that cannot be read.
        """
        values = dict(self._current.values)
        if preset:
            values |= {param.name: param.default for param in PARAMS if param.in_presets} | self._presets.load(preset)
        start, honoured = starting_values(), frozenset(self.supported())
        return {name: value for name, value in values.items() if name in honoured or value != start[name]}

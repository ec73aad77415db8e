"""Every loader, collected. `loaders_and_params` and `load_func_map` are derived from the specs.

A loader is one file in this folder with `SPEC` on top. An extension adds one with the `loaders` hook;
the server passes those to `Registry`. The packages in this folder (hf, torch_sampling, served) are what several
loaders share or what is too long for one file; they run in the worker only.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loaders.base import LoaderSpec
from modules.errors import NotFound

_NOT_LOADERS = frozenset({"base"})


def built_in_specs() -> tuple[LoaderSpec, ...]:
    """The spec of every loader file here, by rank. Imports no engine."""
    found = [one.name for one in pkgutil.iter_modules(__path__) if not one.ispkg and one.name not in _NOT_LOADERS]
    specs = [importlib.import_module(f"loaders.{name}").SPEC for name in sorted(found)]
    return _ranked(specs)


def _ranked(specs: Iterable[LoaderSpec]) -> tuple[LoaderSpec, ...]:
    return tuple(sorted(specs, key=lambda spec: (spec.rank, spec.name)))


@dataclass(frozen=True)
class Registry:
    """The loaders of one running program: the built-in ones and those of its extensions."""

    specs: tuple[LoaderSpec, ...] = field(default_factory=built_in_specs)

    def with_more(self, more: Iterable[LoaderSpec]) -> Registry:
        """A registry that also has `more`; a name that exists is replaced."""
        by_name = {spec.name: spec for spec in (*self.specs, *more)}
        return Registry(_ranked(by_name.values()))

    def get(self, name: str) -> LoaderSpec:
        """The loader of that name. Raises NotFound with the names there are."""
        for spec in self.specs:
            if spec.name == name:
                return spec
        raise NotFound(
            f"There is no loader called {name!r}.",
            hint="There are: " + ", ".join(spec.name for spec in self.specs) + ".",
            code="loader_not_found",
        )

    def for_format(self, fmt: str) -> tuple[LoaderSpec, ...]:
        """Loaders that open this format, best first."""
        return tuple(spec for spec in self.specs if fmt in spec.formats)

    @property
    def loaders_and_params(self) -> Mapping[str, tuple[str, ...]]:
        """Loader name → the names of its settings, in the order of their widgets."""
        return {spec.name: tuple(param.name for param in spec.params) for spec in self.specs}

    @property
    def load_func_map(self) -> Mapping[str, str]:
        """Loader name → "module:function" that loads a model; imported in the worker only."""
        return {spec.name: spec.load for spec in self.specs}


def installed(spec: LoaderSpec) -> bool:
    """Whether the engine's package is there, looked up without importing it."""
    if not spec.needs:
        return True
    try:
        if spec.needs.startswith("!"):
            beside = str(Path(sys.executable).parent)  # of our own environment, which need not be on the PATH
            return any(shutil.which(spec.needs[1:], path=path) for path in (beside, None))
    except (ImportError, ValueError):
        return False
    return is_importable(spec.needs)


def is_importable(module: str) -> bool:
    """Whether a Python module is installed, looked up without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


_BUILT_IN = Registry()
loaders_and_params = _BUILT_IN.loaders_and_params
load_func_map = _BUILT_IN.load_func_map

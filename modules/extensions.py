"""Finding, importing and setting up the extensions. A broken one is named with its reason and left out."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import yaml

from loaders.base import LoaderSpec
from modules.hooks.calls import call
from modules.hooks.context import ExtensionContext, Services
from modules.hooks.manager import HookLimits, Hooks

log = logging.getLogger(__name__)
SHIPPED = Path(__file__).resolve().parent.parent / "extensions"
PACKAGE = "enginehouse_extensions"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class ExtensionInfo:
    """One extension that was asked for. `problem` is a sentence for people; "" when all is well."""

    name: str
    version: str = ""
    ok: bool = True
    problem: str = ""
    folder: str = ""


@dataclass(slots=True)
class _Found:
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)


class HasExtensions(Protocol):
    """The part of modules.settings.paths.Paths that is needed here: user_data/extensions."""

    @property
    def extensions(self) -> Path: ...


class Extensions:
    """The extensions of one running program.

    Order: `load_all()` → `loaders()` (before the model list) → `set_up(services)` → `routers()`.
    None of them raises for a fault of an extension; `loaded` says what became of each.
    """

    def __init__(
        self, paths: HasExtensions, names: Sequence[str], shipped: Path = SHIPPED, limits: HookLimits | None = None
    ) -> None:
        self._own = paths.extensions
        self._shipped = shipped
        self._names = tuple(dict.fromkeys(names))
        self._infos: dict[str, ExtensionInfo] = {}
        self._found: dict[str, _Found] = {}
        self._services: Services | None = None
        self.hooks = Hooks(limits)
        self.hooks.on_problem = self._note
        self.hooks.context_of = self._context

    @property
    def loaded(self) -> tuple[ExtensionInfo, ...]:
        """Every extension that was asked for, in the order of the setting."""
        return tuple(self._infos.values())

    def available(self) -> tuple[str, ...]:
        """Names of all extension folders, shipped and own."""
        scripts = [*self._shipped.glob("*/script.py"), *self._own.glob("*/script.py")]
        return tuple(sorted({script.parent.name for script in scripts if NAME.fullmatch(script.parent.name)}))

    def load_all(self) -> None:
        """Import each extension that was asked for."""
        for name in self._names:
            self._infos[name] = self._load(name)
            if not self._infos[name].ok:
                log.error("extension %s: %s", name, self._infos[name].problem)

    def loaders(self) -> tuple[LoaderSpec, ...]:
        """What the extensions' `loaders` hooks give, for Registry.with_more."""
        specs: list[LoaderSpec] = []
        for name, value in self.hooks.call_each("loaders"):
            for spec in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(spec, LoaderSpec):
                    specs.append(_with_folder(spec, self._found[name].folder))
                else:
                    self.hooks.fault(name, "loaders", f"it returned {type(spec).__name__} instead of a LoaderSpec")
        return tuple(specs)

    def set_up(self, services: Services) -> None:
        """Give each extension its context and call the `setup` hooks. Blocking: call it in a thread or at start."""
        self._services = services
        for name, value in self.hooks.call_each("setup"):
            log.debug("setup of %s returned %r, which means nothing", name, value)

    def routers(self) -> tuple[Any, ...]:
        """The APIRouters of the `routes` hooks, for FastAPI.include_router."""
        routers = []
        for name, value in self.hooks.call_each("routes"):
            if hasattr(value, "routes") and hasattr(value, "add_api_route"):
                routers.append(value)
            else:
                self.hooks.fault(name, "routes", f"it returned {type(value).__name__} instead of an APIRouter")
        return tuple(routers)

    # ── one extension ──────────────────────────────────────────────────────────────────────────────

    def _load(self, name: str) -> ExtensionInfo:
        if not NAME.fullmatch(name):
            return ExtensionInfo(name, ok=False, problem="That is no name for an extension: letters, digits, _ and -.")
        folder = next((f for f in (self._own / name, self._shipped / name) if (f / "script.py").is_file()), None)
        if folder is None:
            there = ", ".join(self.available()) or "none"
            return ExtensionInfo(name, ok=False, problem=f"There is no such extension. There are: {there}.")
        info = ExtensionInfo(name, folder=str(folder))
        outcome = call(_import_script, [name, folder], self.hooks.limits.start)
        if outcome.problem:
            return replace(info, ok=False, problem=f"It could not be imported: {outcome.problem}.{_hint(folder)}")
        module = outcome.value
        info = replace(info, version=str(getattr(module, "VERSION", ""))[:40])
        try:
            options, warning = _options(self._own / f"{name}.yaml")
            self._found[name] = _Found(folder, options)
            warning = self.hooks.register(name, module) or warning
        except Exception as error:  # a module can do anything while its attributes are looked at
            self.hooks.unregister(name)
            return replace(info, ok=False, problem=f"Its hooks cannot be used: {error}.")
        return replace(info, problem=warning)

    def _context(self, name: str) -> ExtensionContext | None:
        services, found = self._services, self._found.get(name)
        if services is None or found is None:
            return None
        return ExtensionContext(
            name, found.folder, found.options, services.generation, services.models, services.presets,
            services.settings, logging.getLogger(f"extensions.{name}"),
        )  # fmt: skip

    def _note(self, name: str, problem: str) -> None:
        if name in self._infos:
            self._infos[name] = replace(self._infos[name], ok=False, problem=problem)


def _with_folder(spec: LoaderSpec, folder: Path) -> LoaderSpec:
    """A spec whose load function ".module:name" is in its extension's folder, with the file's place: a worker, which
    knows no extensions, can import that."""
    if not spec.load.startswith("."):
        return spec
    module, _, function = spec.load[1:].partition(":")
    return replace(spec, load=f"{folder / module}.py:{function}")


def _import_script(name: str, folder: Path) -> types.ModuleType:
    """Import `script.py` as part of a package of its own, so that `from . import x` works and no two collide."""
    root = sys.modules.setdefault(PACKAGE, types.ModuleType(PACKAGE))
    package = types.ModuleType(f"{PACKAGE}.{name}")
    root.__path__, package.__path__ = [], [str(folder)]
    sys.modules[package.__name__] = package
    for known in [key for key in sys.modules if key.startswith(f"{PACKAGE}.{name}.")]:
        del sys.modules[known]
    return importlib.import_module(f"{PACKAGE}.{name}.script")


def _hint(folder: Path) -> str:
    """What to do about a missing package."""
    if (folder / "requirements.txt").is_file():
        return f" If a package is missing: pip install -r {folder / 'requirements.txt'}"
    return ""


def _options(file: Path) -> tuple[Mapping[str, Any], str]:
    """A person's options for one extension, and a warning when the file cannot be used."""
    if not file.is_file():
        return {}, ""
    try:
        values = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        return {}, f"Its options in {file.name} cannot be read and were left out: {error}"
    if values is None:
        return {}, ""
    if not isinstance(values, dict):
        return {}, f"Its options in {file.name} have to be names with values; they were left out."
    return types.MappingProxyType(values), ""

"""Which model, with which loader and settings, and why: decided before anything is unloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from loaders import Registry
from loaders.base import LoaderSpec, NamedFile
from modules.errors import BadParameter, EnginehouseError, NotFound, NotReady
from modules.models.auxiliary_files import Companions, resolve
from modules.models.catalog import Catalog, check_runnable
from modules.models.estimates import Estimating
from modules.models.last_used import LastUsed
from modules.models.loader_choice import pick_loader
from modules.models.model_file import ModelFile
from modules.settings.store import Settings
from modules.types import Decision, ParamValue


@dataclass(frozen=True, slots=True)
class Plan:
    """A model with everything checked that can be checked before the old one has to go."""

    model: ModelFile
    spec: LoaderSpec
    why: str
    settings: Mapping[str, ParamValue]
    options: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[NamedFile, ...]] = field(default_factory=dict)


class Planner:
    """Decides; its methods read the disk and belong in a thread."""

    def __init__(
        self, catalog: Catalog, registry: Registry, settings: Settings, last: LastUsed, estimating: Estimating
    ) -> None:
        self._estimating = estimating
        self._catalog = catalog
        self._registry = registry
        self._settings = settings
        self._last = last

    def plan(self, name: str, loader: str | None, settings: Mapping[str, Any] | None) -> Plan:
        """How to load that model; None = as it was loaded last. Raises NotFound, BadParameter, Unsupported."""
        model = self._catalog.get(name)
        check_runnable(model)
        spec, why = self._spec(model, loader, self._last.of(model.name)[0])
        last_settings = self._last.settings_of(model.name, spec.name)
        complete: dict[str, ParamValue] | None = None
        named = Companions()
        if settings is None and last_settings:
            try:
                complete = spec.check_settings(last_settings)
                named = resolve(self._catalog, spec, complete, model)
                why = f"{why} It is loaded with the settings it had last."
            except BadParameter as error:
                why = f"{why} Its last settings do not fit any more ({error.message}), so defaults are used."
                complete = None
        if complete is None:
            complete = spec.check_settings(settings or {})
            named = resolve(self._catalog, spec, complete, model)
        why = " ".join((why, *named.why))
        expected = self._estimating.estimate(model, spec, complete)
        if expected.verdict == "too large":
            why = f"{why} It may not fit: {expected.why}"
        return Plan(model, spec, why, complete, self._options(spec), named.files)

    def _options(self, spec: LoaderSpec) -> dict[str, str]:
        """The program settings this loader has to know."""
        return {name: str(self._settings.get(name)) for name in spec.options}

    def _spec(self, model: ModelFile, loader: str | None, last: str | None) -> tuple[LoaderSpec, str]:
        if loader:
            spec = self._registry.get(loader)
            if spec.name not in model.loaders:
                raise BadParameter(
                    f"The loader {spec.name} does not open {model.name}.", param="loader",
                    hint="These do: " + (", ".join(model.loaders) or "none") + ".")  # fmt: skip
            return spec, f"The loader {spec.name} was asked for."
        if model.name == self._settings.get("model") and (wanted := self._settings.get("loader")) in model.loaders:
            return self._registry.get(wanted), f"The loader {wanted} is the one in the settings."
        if last and last in model.loaders:
            return self._registry.get(last), f"{last} loaded it last time."
        chosen = self.pick_loader(model)
        return chosen.value, chosen.why

    def pick_loader(self, model: ModelFile) -> Decision[LoaderSpec]:
        """The best loader for the model on this machine, and why. Raises Unsupported."""
        check_runnable(model)
        return pick_loader(model, self._estimating.machine(), self._registry)

    def smaller(self, plan: Plan, error: EnginehouseError) -> Plan | None:
        """The plan with the settings a failed load offers instead, and what they change; None when it offers none."""
        if error.fallback is None:
            return None
        settings = plan.spec.check_settings(error.fallback["settings"])
        if settings == plan.settings:
            return None
        why = f"{plan.why} It did not fit, so it was loaded with less: {error.fallback['says']}"
        return replace(plan, settings=settings, why=why)

    def default(self, crashed: str | None) -> Decision[str]:
        """The model meant by a request that names none; the one that just crashed, if any. Raises NotReady."""
        if crashed is not None:
            return Decision(crashed, "")
        runnable = [model.name for model in self._catalog.scan() if _writes(model)]
        if (wanted := str(self._settings.get("model") or "")) and self._known(wanted):
            return Decision(wanted, f"No model was loaded, so {wanted} was loaded: it is the one in the settings.")
        if (last := self._last.last) and self._known(last):
            return Decision(last, f"No model was loaded, so {last} was loaded: it was used last.")
        if len(runnable) == 1:
            return Decision(runnable[0], f"No model was loaded, so {runnable[0]} was loaded: it is the only one.")
        if not runnable:
            raise NotReady("There is no model yet.", code="no_models",
                           hint="Put a GGUF file into the folder models in the user-data folder.")  # fmt: skip
        raise NotReady("No model is loaded.", hint="Choose one on the Model tab, or name one in the request.")

    def _known(self, name: str) -> bool:
        try:
            model = self._catalog.get(name)
        except NotFound:
            return False
        return _writes(model) or bool(model.builtin)


def _writes(model: ModelFile) -> bool:
    """Whether a request that names no model can be meant for this one: one on disk that writes text."""
    return bool(model.runnable and not model.builtin and model.kind == "model")

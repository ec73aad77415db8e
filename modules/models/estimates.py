"""Estimates for models of the catalogue: facts, hardware and what was learned, brought together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loaders.base import LoaderSpec
from modules.errors import EnginehouseError
from modules.estimates.corrections import Correction, Footprints, corrected, ratio_of
from modules.estimates.values import Estimate
from modules.formats.detect import detect
from modules.formats.facts import ModelFacts
from modules.hardware.gpu import nvidia_process_bytes
from modules.hardware.reader import HardwareReader
from modules.hardware.values import Hardware
from modules.models import memory
from modules.models.fallback import Fallback, find_fallback, looks_like_memory
from modules.models.model_file import ModelFile
from modules.types import ParamValue

_log = logging.getLogger("enginehouse.memory")

OwnEngine = Callable[[LoaderSpec], bool]


def own_engine(setting: Callable[[str], Any]) -> OwnEngine:
    """Whether a loader would start the person's own llama-server, by the program's settings."""
    return lambda spec: "llama_server" in spec.options and bool(setting("llama_server"))


class Estimating:
    """Its methods read disk and devices and belong in a thread.

    given_up   bytes of main memory that the next load gets from the models it takes the place of
    find       a model of the catalogue by its name, for files that a setting names
    own_engine whether a loader uses an engine of the person's own, of which nothing is known here
    """

    def __init__(
        self, hardware: HardwareReader, footprints: Footprints, find: Callable[[str], ModelFile],
        given_up: Callable[[], int] = lambda: 0, own_engine: OwnEngine = lambda spec: False,
    ) -> None:  # fmt: skip
        self.hardware = hardware
        self.footprints = footprints
        self._find = find
        self._given_up = given_up
        self._own_engine = own_engine

    def machine(self, spec: LoaderSpec | None = None) -> Hardware:
        """The machine, as that loader's engine sees it."""
        whole = spec is None or self._own_engine(spec)
        found = self.hardware.read() if whole or spec is None else self.hardware.for_engine(spec.needs)
        return replace(found, ram_free=min(found.ram_total, found.ram_free + self._given_up()))

    def facts(self, model: ModelFile) -> ModelFacts:
        """What is known of a model of the catalogue."""
        known = getattr(model, "facts", None)
        if isinstance(known, ModelFacts):
            return known
        if model.builtin:
            return ModelFacts(model.format)
        return detect(Path(model.path))

    def estimate(self, model: ModelFile, spec: LoaderSpec, settings: Mapping[str, ParamValue]) -> Estimate:
        """What that load will take, corrected by what earlier ones took. `settings` are complete."""
        unknown = f"How much memory {spec.name} takes for it cannot be said before it is loaded."
        try:
            made = self._made(self.facts(model), spec, settings, self.machine(spec))
        except Exception:  # an estimate that cannot be made is no reason not to load
            _log.exception("estimating %s under %s", model.name, spec.name)
            made = None
        return made or Estimate((), "unknown", unknown)

    def _made(
        self, facts: ModelFacts, spec: LoaderSpec, settings: Mapping[str, ParamValue], machine: Hardware,
        correct: bool = True,
    ) -> Estimate | None:  # fmt: skip
        if spec.estimate is None:
            return None
        extra = {**facts.extra, "companion_bytes": self._companions(spec, settings)}
        made = spec.estimate(replace(facts, extra=extra), settings, machine)
        known = self.footprints.correction(spec.name, facts.quant) if correct else Correction()
        return corrected(made, known, machine)

    def _companions(self, spec: LoaderSpec, settings: Mapping[str, ParamValue]) -> int:
        """Bytes of the files that settings name; a name that is not there counts nothing: loading will say so."""
        total = 0
        for param in spec.params:
            text = settings.get(param.name)
            if param.kind != "files" or not isinstance(text, str) or not text:
                continue
            for one in text.split(","):
                name = one.split("=")[0].strip()
                try:
                    total += int(self._find(name).size) if name else 0
                except EnginehouseError:
                    continue
        return total

    def learn(self, model: ModelFile, spec: LoaderSpec, settings: Mapping[str, ParamValue], pid: int) -> float | None:
        """Compare what the worker takes with the uncorrected estimate and keep it. The ratio, None without one."""
        facts = self.facts(model)
        made = self._made(facts, spec, settings, self.machine(spec), correct=False)
        resident = memory.tree_bytes(pid)
        if made is None or resident is None:
            return None
        measured = {"cpu": resident}
        if any(share.device != "cpu" for share in made.shares):
            measured |= nvidia_process_bytes(memory.tree_pids(pid))
            if not all(share.device in measured for share in made.shares):
                return None  # only a part could be measured, and it is not known which
        ratio = ratio_of(measured, made)
        if ratio is not None:
            self.footprints.learn(spec.name, facts.quant, model.name, ratio)
        return ratio

    def fallback(
        self, model: ModelFile, spec: LoaderSpec, settings: Mapping[str, ParamValue], error: EnginehouseError, log: str
    ) -> Fallback | None:
        """With which settings a load that failed would fit; None when memory was not the reason, or nothing helps."""
        if not spec.ladder:
            return None
        facts, machine = self.facts(model), self.machine(spec)

        def estimate(tried: Mapping[str, ParamValue]) -> Estimate | None:
            return self._made(facts, spec, tried, machine)

        first = estimate(settings)
        if not looks_like_memory(error, log) and (first is None or first.verdict != "too large"):
            return None
        return find_fallback(spec, facts, settings, estimate)

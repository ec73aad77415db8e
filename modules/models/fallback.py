"""A load that failed for want of memory: with which smaller settings it would fit, and what that changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from loaders.base import LoaderSpec, LoadParam
from modules.errors import OUT_OF_MEMORY, EnginehouseError
from modules.estimates.values import Estimate, Settings
from modules.formats.facts import ModelFacts
from modules.types import ParamValue

MOST_TRIES = 3
"""Loads in a row with ever smaller settings before it is given up."""
SMALLER = 0.85
"""A load that failed although the estimate said it fits is tried again with at most this part of its memory."""

_ENGINE_LINES = re.compile(
    r"out of memory|out_of_memory|outofmemory|not enough memory|cannot allocate"
    r"|failed to allocate|unable to allocate|bad_alloc|MemoryError|cudaMalloc failed|insufficient memory"
    r"|ErrorOutOfDeviceMemory|not enough (?:gpu|cpu|device) (?:ram|memory)|No available memory for the cache blocks",
    re.IGNORECASE,
)
Estimating = Callable[[Settings], Estimate | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that is different; `was` and `now` in people's words."""

    name: str
    label: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Fallback:
    """Settings that are complete, one sentence for each step, and each setting that is different."""

    settings: Mapping[str, ParamValue]
    says: tuple[str, ...]
    changes: tuple[Change, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For an error's `fallback`; whoever puts it there adds `model` and `loader`."""
        changes = [asdict(change) for change in self.changes]
        return {"settings": dict(self.settings), "says": " ".join(self.says), "changes": changes}


def looks_like_memory(error: EnginehouseError, log: str = "") -> bool:
    """Whether a load failed for want of memory: its code says so, or a line of the engine's log does."""
    return error.code == OUT_OF_MEMORY or bool(_ENGINE_LINES.search(log))


def said(error: EnginehouseError) -> str:
    """What a load was tried with instead, for a notice."""
    return f"It did not fit ({error.message}), so it was loaded with less: {(error.fallback or {}).get('says', '')}"


def find_fallback(
    spec: LoaderSpec, facts: ModelFacts, settings: Mapping[str, ParamValue], estimate: Estimating
) -> Fallback | None:
    """The first rungs of the loader's ladder after which the load should fit; None when there is nothing to gain.

    estimate  what a load with given settings takes, None when that cannot be said: then one rung is taken
    """
    first = estimate(settings)
    now: dict[str, ParamValue] = dict(settings)
    last = first
    says: dict[frozenset[str], str] = {}  # by the settings a step changes: its last sentence counts
    for step in spec.ladder:
        change = {name: value for name, value in step.change(now, facts).items() if now.get(name) != value}
        if not change:
            continue
        smaller = spec.check_settings(now | change)
        then = estimate(smaller)
        if last is not None and then is not None and not _saves(then, last):
            continue  # it saves nothing here: no graphics card, for example
        says.pop(frozenset(change), None)
        says[frozenset(change)] = step.says.format(**change, was=[now.get(name) for name in change])
        now, last = smaller, then
        if then is None or first is None or _enough(then, first):
            break
    return Fallback(now, tuple(says.values()), _changes(spec, settings, now)) if says else None


def _changes(spec: LoaderSpec, before: Mapping[str, ParamValue], now: Mapping[str, ParamValue]) -> tuple[Change, ...]:
    return tuple(
        Change(param.name, param.label, worded(param, before[param.name]), worded(param, now[param.name]))
        for param in spec.params
        if before[param.name] != now[param.name]
    )


def worded(param: LoadParam, value: ParamValue) -> str:
    """A setting's value for people; what a special number stands for is in the setting's own table ("0" = none)."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return param.special.get(value) or f"{value:,}"
    return str(value) or "automatic"


def _saves(then: Estimate, before: Estimate) -> bool:
    """Whether some device has less to hold."""
    now = {share.device: share.total for share in then.shares}
    return any(now.get(share.device, 0) < share.total for share in before.shares)


def _enough(then: Estimate, first: Estimate) -> bool:
    """Whether it should fit now."""
    if then.verdict in ("too large", "tight"):
        return False
    if first.verdict == "too large":
        return True
    most = {share.device: share.total for share in first.shares}
    # The estimate thought it would fit, and it did not: on some device it has to become clearly smaller.
    return any(share.total <= SMALLER * most.get(share.device, 0) for share in then.shares) or {
        share.device for share in then.shares if share.weights
    } < {share.device for share in first.shares if share.weights}

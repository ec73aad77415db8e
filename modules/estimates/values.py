"""What a load is expected to take: the values, and the two kinds of function a loader brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from modules.formats.facts import ModelFacts
from modules.hardware.values import Hardware
from modules.types import ParamValue

Verdict = Literal["fits", "tight", "too large", "unknown"]
Settings = Mapping[str, ParamValue]


@dataclass(frozen=True, slots=True)
class Share:
    """Bytes on one device ("cpu", "cuda:0"): weights, KV cache, compute buffers, and what the engine itself takes."""

    device: str
    weights: int
    kv_cache: int
    compute: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.weights + self.kv_cache + self.compute + self.overhead


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a load will take, per device, the verdict, and its reason in people's words.

    partial  what is not known and was left out or guessed, as sentences
    lead     the part of `why` before the verdict's own reason; "" = all of it is that
    factor   by how much the figures were corrected from earlier loads of this kind; 1.0 = not
    """

    shares: tuple[Share, ...]
    verdict: Verdict
    why: str
    partial: tuple[str, ...] = ()
    factor: float = 1.0
    lead: str = ""

    @property
    def total(self) -> int:
        """Bytes on all devices together."""
        return sum(share.total for share in self.shares)


Estimator = Callable[[ModelFacts, Settings, Hardware], Estimate]
"""`estimate(facts, settings, hardware)`. Pure: reads no file and asks no device. `settings` is complete."""


@dataclass(frozen=True, slots=True)
class Step:
    """One way to make a load smaller. `change` gives the settings that differ, {} when there is nothing to gain;
    `says` is a sentence with the changed values in braces: "The context is {context} tokens instead of {was}."
    """

    change: Callable[[Settings, ModelFacts], Settings]
    says: str

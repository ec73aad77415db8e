"""What earlier loads really took, and how that corrects the next estimate: `footprints.yaml` in the user-data folder.

One sample is measured over estimated bytes of one real load. The correction belongs to a loader and a quantisation. It
is pulled towards 1 while there are few samples and never leaves a narrow range: what is wrong with one odd load must
not spoil the estimate of every other model.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modules.disk.durable import read_yaml, write_yaml
from modules.errors import StorageError
from modules.estimates.fit import judged
from modules.estimates.values import Estimate, Share
from modules.hardware.values import Hardware

MOST_SAMPLES, MOST_KINDS = 16, 200
SHRINK = 3.0
"""As many samples of "the estimate is right" are thought to be there before the first real one."""
LOWEST, HIGHEST = 0.7, 1.5
ODD = 3.0
"""A sample this many times off is a mistake of the measurement (another model, a shared page), not of the estimate."""
_COMMENT = "How much memory loads really took against their estimates. The program writes this file; you may delete it."


@dataclass(frozen=True, slots=True)
class Correction:
    """Factor for an estimate, and of how many models it was learned."""

    factor: float = 1.0
    count: int = 0


@dataclass(slots=True)
class Footprints:
    """Reads once, writes after each new sample. A damaged file is as none; a disk that refuses costs its memory."""

    file: Path
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _kinds: dict[str, dict[str, float]] | None = None

    def correction(self, loader: str, quant: str) -> Correction:
        """What is known of loads of this kind."""
        with self._lock:
            samples = list(self._read().get(_kind(loader, quant), {}).values())
        if not samples:
            return Correction()
        shrunk = 1 + (statistics.median(samples) - 1) * len(samples) / (len(samples) + SHRINK)
        return Correction(round(min(HIGHEST, max(LOWEST, shrunk)), 4), len(samples))

    def learn(self, loader: str, quant: str, model: str, ratio: float) -> bool:
        """Keep the newest sample of a model. False when it was too odd to be kept."""
        if not 1 / ODD <= ratio <= ODD:
            return False
        with self._lock:
            kinds = self._read()
            name = _kind(loader, quant)
            samples = {one: value for one, value in kinds.pop(name, {}).items() if one != model}
            samples[model] = round(ratio, 4)
            kinds[name] = dict(list(samples.items())[-MOST_SAMPLES:])
            self._kinds = dict(list(kinds.items())[-MOST_KINDS:])
            try:
                write_yaml(self.file, {"kinds": self._kinds}, comment=_COMMENT)
            except StorageError as error:
                if error.message not in self.problems:
                    self.problems.append(error.message)
        return True

    def _read(self) -> dict[str, dict[str, float]]:
        if self._kinds is None:
            value, problem = read_yaml(self.file)
            if problem:
                self.problems.append(problem)
            self._kinds = _checked(value)
        return self._kinds


def _kind(loader: str, quant: str) -> str:
    return f"{loader} {quant or 'unknown'}"


def _checked(value: Any) -> dict[str, dict[str, float]]:
    """What of the file makes sense."""
    kinds = value.get("kinds") if isinstance(value, dict) else None
    found: dict[str, dict[str, float]] = {}
    for name, samples in list(kinds.items())[-MOST_KINDS:] if isinstance(kinds, dict) else ():
        if not isinstance(samples, dict):
            continue
        numbers = {str(one): float(ratio) for one, ratio in samples.items() if type(ratio) in (int, float)}
        good = {one: ratio for one, ratio in numbers.items() if 1 / ODD <= ratio <= ODD}
        if good:
            found[str(name)] = dict(list(good.items())[-MOST_SAMPLES:])
    return found


def corrected(estimate: Estimate, correction: Correction, hardware: Hardware) -> Estimate:
    """The estimate with what was learned; the verdict is judged again. The weights are known and stay as they are."""
    if correction.count == 0 or abs(correction.factor - 1) < 0.005:
        return estimate
    shares = tuple(_scaled(share, correction.factor) for share in estimate.shares)
    verdict = judged(shares, hardware)
    models = "1 earlier load" if correction.count == 1 else f"{correction.count} earlier loads"
    why = f"{estimate.lead}{verdict.why} Corrected by {correction.factor - 1:+.0%} after {models}."
    return replace(estimate, shares=shares, verdict=verdict.value, why=why, factor=correction.factor)


def _scaled(share: Share, factor: float) -> Share:
    """The share times the factor, with the difference booked where the guessing is: in the engine's own part."""
    wanted = round(share.total * factor)
    rest = max(0, wanted - share.weights - share.kv_cache - share.compute)
    missing = max(0, share.weights + share.kv_cache + share.compute + rest - wanted)
    return replace(share, overhead=rest, compute=max(0, share.compute - missing))


def ratio_of(measured: Mapping[str, int], estimate: Estimate) -> float | None:
    """Measured over estimated bytes of what could be measured; None when nothing could.

    Computing buffers are taken when a prompt first fills them, so anything between the estimate without and with them
    is right.
    """
    found = [(measured[share.device], share) for share in estimate.shares if share.device in measured]
    if not found or sum(share.total for _, share in found) <= 0:
        return None
    real = sum(size for size, _ in found)
    most = sum(share.total for _, share in found)
    least = most - sum(share.compute for _, share in found)
    if least <= real <= most:
        return 1.0
    return real / most if real > most else real / max(1, least)

"""The last step: which of the candidates is taken."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from loaders.torch_sampling.candidates import NEVER, Candidates, best, largest
from modules.errors import EngineError

_ESTIMATE = 100  # likeliest tokens from which mirostat 1 estimates how steep the distribution is; llama.cpp's number
_WIDTH, _PEAK, _SHARPNESS = 0.3, 5.0, 10.0  # of adaptive-p's hill round its target; llama.cpp's numbers


class Selection(Protocol):
    """`weights` gives the final probability of every candidate, which it may have cut further; `chose` tells which
    of them was taken."""

    def weights(self, c: Candidates) -> Tensor: ...
    def chose(self, place: int) -> None: ...


class Plain:
    """By the probabilities as they are."""

    def weights(self, c: Candidates) -> Tensor:
        return c.probabilities()

    def chose(self, place: int) -> None:
        """Remembers nothing."""


class Mirostat:
    """Basu et al. 2020: keeps the surprise of the text, in bits, near a target; versions 1 and 2 as in llama.cpp."""

    def __init__(self, version: int, target: float, rate: float, size: int) -> None:
        self._version, self._target, self._rate, self._size = version, target, rate, size
        self._limit = 2 * target
        self._weights = torch.empty(0)

    def weights(self, c: Candidates) -> Tensor:
        if self._version == 1:
            amount = self._amount(c)
            if amount < len(c):
                c.keep(largest(c.logits, amount), ordered=True)
        else:
            c.keep_where(-torch.log2(c.probabilities()) <= self._limit)
        self._weights = c.probabilities()
        return self._weights

    def _amount(self, c: Candidates) -> int:
        """How many candidates have the surprise that is wanted, were they distributed by Zipf's law."""
        logits = c.logits.topk(min(_ESTIMATE, len(c))).values.to(torch.float64)
        steps = -logits[logits > NEVER].diff()
        if len(steps) == 0:
            return 1
        ranks = torch.arange(1, len(steps) + 1, dtype=torch.float64, device=steps.device)
        times = ((ranks + 1) / ranks).log()
        slope = float((times * steps).sum() / (times * times).sum())
        excess = slope - 1
        try:
            amount = (excess * 2**self._limit / (1 - self._size**-excess)) ** (1 / slope)
        except (ZeroDivisionError, OverflowError):
            return 1
        return max(1, min(int(amount), len(c))) if isinstance(amount, float) and math.isfinite(amount) else 1

    def chose(self, place: int) -> None:
        surprise = -math.log2(float(self._weights[place]))
        self._limit -= self._rate * (surprise - self._target)


class AdaptiveP:
    """MrJackSpade 2025, as in llama.cpp: prefers tokens whose probability is such that the average meets a target."""

    def __init__(self, target: float, decay: float) -> None:
        self._target, self._decay = min(target, 1.0), min(max(decay, 0.0), 0.99)
        self._total = 1 / (1 - self._decay)
        self._sum = self._target * self._total
        self._before = torch.empty(0)

    def weights(self, c: Candidates) -> Tensor:
        self._before = c.probabilities()
        aim = min(max(2 * self._target - self._sum / self._total, 0.0), 1.0)
        distance = ((self._before - aim) / _WIDTH).abs()
        hill = _PEAK - _SHARPNESS * distance**2 / (1 + distance)
        return torch.softmax(hill.masked_fill(c.logits == NEVER, NEVER), 0)

    def chose(self, place: int) -> None:
        self._sum = float(self._before[place]) + self._decay * self._sum
        self._total = 1 + self._decay * self._total


def draw(weights: Tensor, chance: float) -> int:
    """A place by weight; `chance` from 0 to below 1. Never one of weight 0. Raises EngineError for no numbers."""
    sums = weights.cumsum(0, dtype=torch.float64)
    total = float(sums[-1])
    if not 0 < total < math.inf:
        raise no_numbers()
    place = int(torch.searchsorted(sums, chance * total, right=True))
    return place if place < len(weights) else best(weights)


def no_numbers() -> EngineError:
    return EngineError(
        "The model computed scores that are no numbers (NaN).",
        hint="Its weights may be damaged, or their number format too small: load it with another dtype (float32).",
    )

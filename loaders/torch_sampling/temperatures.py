"""Samplers that change how likely the candidates are, all of them at once: temperatures and smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from loaders.torch_sampling.candidates import Candidates
from loaders.torch_sampling.truncation import greedy

_LOWEST = 1e-6  # below, logits that differ in their last bit are worlds apart, and quotients soon too large


def temperature(value: float) -> Callable[[Candidates], None]:
    """Divides the logits; 0, or next to it, leaves only the likeliest."""
    if value < _LOWEST:
        return greedy

    def change(c: Candidates) -> None:
        c.logits = c.logits / value

    return change


def dynamic_temperature(low: float, high: float, exponent: float) -> Callable[[Candidates], None]:
    """kalomaze 2023, as llama.cpp has it: the temperature follows the share of the largest possible entropy."""

    def change(c: Candidates) -> None:
        if c.count <= 1:
            return
        entropy = float(torch.special.entr(c.probabilities()).sum())
        share = min(max(entropy / math.log(c.count), 0.0), 1.0)
        temperature(low + (high - low) * share**exponent)(c)

    return change


def quadratic(factor: float, curve: float) -> Callable[[Candidates], None]:
    """kalomaze 2024: with d the distance to the largest logit, max - k·f·d² - s·f·d³, k = (3-c)/2 and s = (c-1)/2."""
    square, cube = factor * (3 - curve) / 2, factor * (curve - 1) / 2

    def change(c: Candidates) -> None:
        largest = c.logits.amax()
        distance = largest - c.logits
        changed = largest - distance**2 * (square + cube * distance)
        c.logits = torch.where(distance == math.inf, c.logits, changed) if c.holes else changed
        c.ordered = c.ordered and square >= 0

    return change

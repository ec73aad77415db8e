"""Samplers that leave candidates out. Each keeps at least one.

Where llama.cpp has the sampler, edges are its: which side of an equality is kept, and that XTC keeps the least likely
of the likely ones. The others follow their papers as Transformers implements them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from loaders.torch_sampling.candidates import NEVER, Candidates, best, descending, largest, largest_until, places

_FIRST_LOOK = 1024  # candidates in which the tail mostly begins


def top_k(k: int) -> Callable[[Candidates], None]:
    """Fan et al. 2018: the k likeliest."""

    def cut(c: Candidates) -> None:
        count = min(k, c.count)
        if k >= len(c):
            c.count = count
        elif c.ordered:
            c.keep_first(k, count=count)
        else:
            c.keep(largest(c.logits, k), ordered=True, count=count)

    return cut


def top_p(p: float) -> Callable[[Candidates], None]:
    """Holtzman et al. 2019: the likeliest whose probabilities together reach p."""

    def cut(c: Candidates) -> None:
        probabilities = c.probabilities()
        if c.ordered:
            sums = probabilities.cumsum(0, dtype=torch.float64)
            amount = int(torch.searchsorted(sums, p)) + 1
            if amount <= len(c):
                c.keep_first(amount)
        else:
            c.keep(largest_until(probabilities, probabilities, p, over=False), ordered=True)

    return cut


def min_p(p: float) -> Callable[[Candidates], None]:
    """Nguyen et al. 2024: those at least p times as likely as the likeliest."""
    distance = math.log(p)

    def cut(c: Candidates) -> None:
        c.keep_where(c.logits >= c.logits.amax() + distance)

    return cut


def typical_p(p: float) -> Callable[[Candidates], None]:
    """Meister et al. 2022: those whose information is nearest the expected one, together more likely than p."""

    def cut(c: Candidates) -> None:
        logarithms = torch.log_softmax(c.logits, 0)
        probabilities = logarithms.exp()
        entropy = torch.special.entr(probabilities).sum()
        nearness = -(logarithms + entropy).abs()
        c.keep(largest_until(nearness, probabilities, p, over=True))

    return cut


def top_n_sigma(n: float) -> Callable[[Candidates], None]:
    """Tang et al. 2024: logits within n standard deviations of the largest."""

    def cut(c: Candidates) -> None:
        if c.count <= 1:
            return
        if c.holes:
            known = c.logits > NEVER
            amount = known.sum()
            distance = c.logits.masked_fill(~known, 0) - c.logits.masked_fill(~known, 0).sum() / amount
            deviation = ((distance * known) ** 2).sum().div(amount).sqrt()
        else:
            deviation = c.logits.std(correction=0)
        c.keep_where(c.logits >= c.logits.amax() - n * deviation, count=c.count)

    return cut


def xtc(probability: float, threshold: float, chance: Callable[[], float]) -> Callable[[Candidates], None]:
    """p-e-w 2024: now and then leaves out all tokens of at least this probability but the least likely of them."""

    def cut(c: Candidates) -> None:
        if c.count < 2 or chance() > probability:
            return
        probabilities = c.probabilities()
        likely = places(probabilities >= threshold)
        if len(likely) < 2:
            return
        if c.ordered:
            c.keep(torch.arange(len(likely) - 1, len(c), device=c.logits.device), ordered=True)
            return
        least = int(probabilities[likely].argmin())
        keep = torch.ones(len(c), dtype=torch.bool, device=c.logits.device)
        keep[likely] = False
        keep[likely[least]] = True
        c.keep_where(keep, count=c.count - len(likely) + 1)

    return cut


def epsilon_cutoff(units: float) -> Callable[[Candidates], None]:
    """Hewitt et al. 2022: those at least this likely. `units` of 1/10,000."""
    epsilon = units * 1e-4

    def cut(c: Candidates) -> None:
        c.keep_where(c.probabilities() >= epsilon)

    return cut


def eta_cutoff(units: float) -> Callable[[Candidates], None]:
    """Hewitt et al. 2022: a floor that follows the entropy, min(ε, √ε·e^-H). `units` of 1/10,000."""
    epsilon = units * 1e-4

    def cut(c: Candidates) -> None:
        probabilities = c.probabilities()
        entropy = float(torch.special.entr(probabilities).sum())
        c.keep_where(probabilities >= min(epsilon, math.sqrt(epsilon) * math.exp(-entropy)))

    return cut


def top_a(share: float) -> Callable[[Candidates], None]:
    """BlinkDL 2022: those at least as likely as this share of the likeliest one's probability squared."""

    def cut(c: Candidates) -> None:
        probabilities = c.probabilities()
        c.keep_where(probabilities >= share * probabilities.amax() ** 2)

    return cut


def tfs(z: float) -> Callable[[Candidates], None]:
    """Phénix and Egan 2019: cuts where the curve of the sorted probabilities has spent the share z of its curvature.

    Curvature i is that round token i + 1, which is how the authors centre it; the likeliest token always stays.
    """

    def cut(c: Candidates) -> None:
        if len(c) < 3:
            return
        if c.ordered:
            c.keep_first(_before_tail(c.probabilities(), 0.0, z) or len(c))
            return
        probabilities, amount = c.probabilities(), None
        if len(c) > 8 * _FIRST_LOOK:
            index = largest(probabilities, _FIRST_LOOK)
            # Differences of numbers that fall from p to zero differ by 2p in all, at most.
            amount = _before_tail(probabilities[index], 2 * float(probabilities[index[-1]]), z)
        if amount is None:
            index = descending(c.logits)
            amount = _before_tail(probabilities[index], 0.0, z)
        c.keep(index[:amount], ordered=True)

    return cut


def _before_tail(probabilities: torch.Tensor, unseen: float, z: float) -> int | None:
    """How many of the sorted candidates stay; None where all do, or where curvature not in the list decides it."""
    sums = probabilities.to(torch.float64).diff().diff().abs().cumsum(0)
    total = float(sums[-1])
    amount = int((sums <= z * total).sum())
    certain = amount == int((sums <= z * (total + unseen)).sum()) < len(sums)
    return amount + 1 if certain else None


def greedy(c: Candidates) -> None:
    """Only the likeliest."""
    c.keep(torch.tensor([best(c.logits)], device=c.logits.device), ordered=True)

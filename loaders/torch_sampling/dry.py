"""DRY ("don't repeat yourself", p-e-w 2024), as llama.cpp has it: penalises what would continue a repetition."""

from __future__ import annotations

import math

import numpy as np
import torch

from loaders.torch_sampling.breakers import LONGEST_TAIL, Breakers
from loaders.torch_sampling.candidates import Candidates
from loaders.torch_sampling.history import History, Ids

_LOG_MAX = 88.7228391  # natural logarithm of the largest 32-bit float
_MOST = 1e30  # taken from a logit: it stays a number, should every token be penalised


class Dry:
    """State of one request.

    For every earlier place, `_runs` holds how many tokens that end there are the same as those that end the text.
    One more token makes each run one longer or nothing, which is quick; llama.cpp searches anew for each token.
    """

    def __init__(
        self, history: History, amount: int, breakers: Breakers, multiplier: float, base: float, allowed: int
    ) -> None:
        self._history, self._amount, self._breakers = history, amount, breakers
        self._multiplier, self._base, self._allowed = multiplier, base, allowed
        self._most = int(_LOG_MAX / math.log(base)) if base > 1.000001 else 0
        self._runs = _runs(history.last(-1))
        self._since: int | None = None  # tokens between the last breaker and the end
        self._look_for_breaker(history.last(-1), history.length)

    def __call__(self, c: Candidates, size: int) -> None:
        penalties = self._penalties()
        if penalties:
            at, which = c.find(torch.tensor(list(penalties), dtype=torch.int64), size)
            amounts = torch.tensor(list(penalties.values()), dtype=torch.float32)[which.cpu()]
            c.change(at, c.logits[at] - amounts.to(c.logits.device))

    def accept(self, token: int) -> None:
        tokens = self._history.last(-1)
        runs = np.zeros(len(tokens), np.int64)
        np.add(self._runs[:-1], 1, out=runs[1:-1], where=tokens[1:-1] == token)
        if len(tokens) > 1:
            runs[0] = tokens[0] == token
        self._runs = runs
        self._look_for_breaker(tokens, LONGEST_TAIL + 1)

    def _look_for_breaker(self, tokens: Ids, depth: int) -> None:
        """Find the last breaker among so many tokens; an older one is one token further away now."""
        for back in range(min(depth, len(tokens))):
            tails = self._breakers.get(int(tokens[-1 - back]))
            if tails is None:
                continue
            behind = tuple(tokens[len(tokens) - back :].tolist())
            fitting = [len(tail) for tail in tails if behind[: len(tail)] == tail]
            if fitting:
                self._since = back - max(fitting)
                return
        self._since = None if self._since is None else self._since + 1

    def _penalties(self) -> dict[int, float]:
        """Token → what is taken from its logit."""
        tokens = self._history.last(self._amount)
        length = len(tokens)
        limit = length if self._since is None else min(self._since, length)
        if length <= self._allowed or limit < self._allowed:
            return {}
        runs = np.minimum(self._runs[len(self._runs) - length : -1], np.arange(1, length))
        long = np.flatnonzero(runs >= self._allowed)
        longest: dict[int, int] = {}
        for token, run in zip(tokens[long + 1].tolist(), np.minimum(runs[long], limit).tolist(), strict=True):
            longest[token] = max(run, longest.get(token, 0))
        out = {}
        for token, run in longest.items():
            if () not in self._breakers.get(token, ()):
                power = run - self._allowed
                power = min(power, self._most) if self._most else power
                out[token] = min(self._multiplier * self._base**power, _MOST)
        return out


def _runs(tokens: Ids) -> Ids:
    """How many tokens up to each place equal the last ones: the Z-algorithm, from the end (the last place is 0)."""
    text = tokens[::-1].tolist()
    lengths, left, right = [0] * len(text), 0, 0
    for at in range(1, len(text)):
        run = min(lengths[at - left], right - at) if at < right else 0
        while at + run < len(text) and text[run] == text[at + run]:
            run += 1
        if at + run > right:
            left, right = at, at + run
        lengths[at] = run
    return np.array(lengths[::-1], np.int64)

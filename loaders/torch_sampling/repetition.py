"""Samplers that look at what was written: penalties, the prompt's words, n-grams."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from loaders.torch_sampling.candidates import Candidates
from loaders.torch_sampling.history import Counts, History


class Penalties:
    """Keskar et al. 2019 (repetition) and OpenAI's frequency and presence penalties, as llama.cpp applies them.

    A negative logit is multiplied by the repetition penalty instead of divided, or it would gain. The prompt counts.
    """

    def __init__(self, history: History, amount: int, repetition: float, frequency: float, presence: float) -> None:
        self._counts = Counts(history, amount)
        self._repetition, self._frequency, self._presence = repetition, frequency, presence

    def __call__(self, c: Candidates, size: int) -> None:
        ids, counts = self._counts.tensors()
        at, which = c.find(ids, size)
        logits = _divided(c.logits[at], self._repetition)
        if self._frequency or self._presence:
            logits = logits - (counts.to(logits.device)[which] * self._frequency + self._presence)
        c.change(at, logits)

    def accept(self, token: int) -> None:
        self._counts.append(token)


class PromptPenalty:
    """Keeps the reply near the words of the prompt: the repetition penalty turned round, for the prompt's tokens."""

    def __init__(self, prompt: Sequence[int], penalty: float) -> None:
        self._ids = torch.tensor(sorted(set(prompt)), dtype=torch.int64)
        self._penalty = 1 / penalty

    def __call__(self, c: Candidates, size: int) -> None:
        at, _ = c.find(self._ids, size)
        c.change(at, _divided(c.logits[at], self._penalty))

    def accept(self, token: int) -> None:
        """The prompt stays what it is."""


class NoRepeat:
    """Forbids the tokens that would complete a sequence of n tokens that already stands in prompt or reply."""

    def __init__(self, history: History, n: int) -> None:
        self._n = n
        self._last: tuple[int, ...] = ()
        self._next: dict[tuple[int, ...], set[int]] = {}
        for token in history.last(-1).tolist():
            self.accept(token)

    def __call__(self, c: Candidates, size: int) -> None:
        banned = self._next.get(self._last)
        if banned:
            at, _ = c.find(torch.tensor(sorted(banned), dtype=torch.int64), size)
            c.forbid(at)

    def accept(self, token: int) -> None:
        if len(self._last) == self._n - 1:
            self._next.setdefault(self._last, set()).add(token)
        self._last = (*self._last, token)[1 - self._n :] if self._n > 1 else ()


def _divided(logits: Tensor, by: float) -> Tensor:
    return torch.where(logits <= 0, logits * by, logits / by)

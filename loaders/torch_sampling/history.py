"""The tokens of prompt and reply so far, and how often each was used lately."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int64]
_ROOM = 256  # tokens


class History:
    """All tokens, oldest first, in an array that grows."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.length = len(prompt)
        self._room: Ids = np.empty(self.length + _ROOM, np.int64)
        self._room[: self.length] = prompt

    def append(self, token: int) -> None:
        if self.length == len(self._room):
            self._room = np.concatenate([self._room, np.empty_like(self._room)])
        self._room[self.length] = token
        self.length += 1

    def last(self, amount: int) -> Ids:
        """The last so many, or all when there are fewer or `amount` is -1. A view: not to be kept."""
        start = 0 if amount < 0 else max(0, self.length - amount)
        return self._room[start : self.length]


class Counts:
    """How often each token stands among the last so many (-1 = all). Kept up to date, because a context is long."""

    def __init__(self, history: History, amount: int) -> None:
        self._history, self._amount = history, amount
        ids, counts = np.unique(history.last(amount), return_counts=True)
        self._used = len(ids)
        self._ids: Ids = np.resize(ids, self._used + _ROOM).astype(np.int64)
        self._counts = np.resize(counts, self._used + _ROOM).astype(np.float32)
        self._place = {int(token): place for place, token in enumerate(ids)}

    def append(self, token: int) -> None:
        """To be called after the history took the token."""
        self._add(token, 1)
        if 0 <= self._amount < self._history.length:
            self._add(int(self._history.last(self._amount + 1)[0]), -1)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Tokens and their counts, each at least 1."""
        return torch.from_numpy(self._ids[: self._used].copy()), torch.from_numpy(self._counts[: self._used].copy())

    def _add(self, token: int, change: int) -> None:
        place = self._place.get(token)
        if place is None:
            if self._used == len(self._ids):
                self._ids = np.concatenate([self._ids, np.empty_like(self._ids)])
                self._counts = np.concatenate([self._counts, np.empty_like(self._counts)])
            place = self._place[token] = self._used
            self._ids[place], self._counts[place] = token, 0
            self._used += 1
        self._counts[place] += change
        if self._counts[place] == 0:  # the last one takes its place
            self._used -= 1
            last = int(self._ids[self._used])
            self._ids[place], self._counts[place] = last, self._counts[self._used]
            self._place[last] = place
            del self._place[token]

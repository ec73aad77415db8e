"""The tokens that can still be chosen, and their logits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NEVER = float("-inf")
_SMALL = 4096  # candidates that a graphics card hands to the processor: from here on each step is a wait for it
_FIRST_LOOK, _SECOND_LOOK = 256, 8192
_FEW = 1024  # up to here PyTorch finds the largest quicker than NumPy


class Candidates:
    """What the samplers work on, one after the other.

    logits   float32, [candidates]; never changed in place: it may be the model's own
    ids      int64, [candidates]; None = the whole vocabulary
    count    as many candidates as llama.cpp would count here. It keeps forbidden tokens in its list, and the dynamic
             temperature compares with that list's length
    ordered  likeliest first
    """

    __slots__ = ("count", "ids", "logits", "ordered")

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.ids: Tensor | None = None
        self.count = len(logits)
        self.ordered = False

    def __len__(self) -> int:
        return len(self.logits)

    def keep(self, index: Tensor, *, ordered: bool = False, count: int | None = None) -> None:
        """Leave out all but those at these places, which must be at least one. `count`: see above; None = as many."""
        logits, ids = self.logits[index], index if self.ids is None else self.ids[index]
        if logits.is_cuda and len(logits) <= _SMALL:
            logits, ids = logits.cpu(), ids.cpu()
        self.logits, self.ids, self.ordered = logits, ids, ordered
        self.count = len(logits) if count is None else count

    def keep_first(self, amount: int, *, count: int | None = None) -> None:
        """Leave out all but the first of ordered candidates."""
        self.logits, self.ids = self.logits[:amount], None if self.ids is None else self.ids[:amount]
        self.count = len(self.logits) if count is None else count

    def keep_where(self, mask: Tensor, *, count: int | None = None) -> None:
        """Leave out all that are not in the mask; where none is, the likeliest stays."""
        index = places(mask)
        if len(index) == 0:
            index = torch.tensor([best(self.logits)], device=self.logits.device)
        if len(index) < len(self.logits):
            self.keep(index, ordered=self.ordered, count=count)
        elif count is None:
            self.count = len(self.logits)

    def probabilities(self) -> Tensor:
        """Of each candidate, summing to 1."""
        return torch.softmax(self.logits, 0)

    def find(self, ids: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Where these tokens are: (places among the candidates, which of `ids` those are). `size`: vocabulary."""
        ids = ids.to(self.logits.device)
        if self.ids is None:
            return ids, torch.arange(len(ids), device=ids.device)
        where = torch.full((size,), -1, dtype=torch.int64, device=ids.device)
        where[self.ids] = torch.arange(len(self.ids), device=ids.device)
        found = where[ids]
        which = (found >= 0).nonzero().squeeze(1)
        return found[which], which

    def change(self, at: Tensor, logits: Tensor) -> None:
        """New logits at these places."""
        self.logits = self.logits.index_copy(0, at, logits)
        self.ordered = False

    def forbid(self, at: Tensor) -> bool:
        """Those at these places can no longer be chosen. Where nothing would be left it is not done: False."""
        logits = self.logits.index_fill(0, at, NEVER)
        if float(logits.amax()) == NEVER:
            return False
        self.logits, self.ordered = logits, False
        return True

    def allow(self, mask: Tensor) -> None:
        """Of the whole vocabulary, only what a grammar allows can be chosen; that is at least one token."""
        index = places(mask)
        if len(index) * 2 < len(mask):
            self.keep(index, count=self.count)
        elif len(index) < len(mask):
            self.logits = self.logits.masked_fill(~mask, NEVER)

    @property
    def holes(self) -> bool:
        """Whether some logits are -inf: forbidden here, or by the model itself."""
        return float(self.logits.amin()) == NEVER

    def token(self, place: int) -> int:
        return place if self.ids is None else int(self.ids[place])


def places(mask: Tensor) -> Tensor:
    """Where a mask is true. NumPy is several times quicker at this on the processor."""
    if mask.is_cuda:
        return mask.nonzero().squeeze(1)
    return torch.from_numpy(mask.numpy().nonzero()[0])


def best(values: Tensor) -> int:
    """Place of the largest, the first of several."""
    return int(values.argmax()) if values.is_cuda else int(values.numpy().argmax())


def descending(values: Tensor) -> Tensor:
    """Places by value, the largest first, and of equal ones the first.

    On the processor as whole numbers that hold both, value before place: NumPy sorts those 20 times as fast as
    PyTorch sorts 50,000 floats.
    """
    if values.is_cuda:
        return torch.sort(values, descending=True, stable=True).indices
    bits = values.to(torch.float32).numpy().view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32  # as whole numbers they have the floats' order
    last = len(keys) - 1
    keys |= np.arange(last, -1, -1, dtype=np.int64)
    keys.sort()
    return torch.from_numpy(last - (keys[::-1] & 0xFFFFFFFF))


def largest(values: Tensor, amount: int) -> Tensor:
    """Places of the largest values, largest first."""
    if amount * 8 > len(values):
        return descending(values)[:amount]
    if amount <= _FEW or values.is_cuda:
        return values.topk(amount).indices
    some = torch.from_numpy(np.argpartition(values.numpy(), len(values) - amount)[-amount:])
    return some[descending(values[some])]


def largest_until(values: Tensor, weights: Tensor, total: float, *, over: bool) -> Tensor:
    """Places of the largest values whose weights together reach `total` (`over`: exceed it), largest first.

    Looks at a few first, which mostly is enough; all are sorted when it has to be.
    """
    for amount in (_FIRST_LOOK, _SECOND_LOOK, len(values)):
        if amount == _SECOND_LOOK and amount * 8 > len(values):
            continue
        index = largest(values, min(amount, len(values)))
        sums = weights[index].cumsum(0, dtype=torch.float64)
        enough = int(torch.searchsorted(sums, total, right=over)) + 1
        if enough <= len(index):
            return index[:enough]
    return index

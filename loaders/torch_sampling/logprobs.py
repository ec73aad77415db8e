"""Log-probabilities of the model's own distribution: at temperature 1 and before any sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from loaders.torch_sampling.vocabulary import Vocabulary
from modules.types import TokenLogprob, TopLogprob

_LOWEST = -9999.0  # for a token the model rules out: JSON has no infinity, and OpenAI's API uses this number


def logprob_of(token: int, logits: Tensor, amount: int, vocabulary: Vocabulary) -> TokenLogprob:
    """The chosen token and the `amount` likeliest."""
    total = float(torch.logsumexp(logits, 0))
    top: list[TopLogprob] = []
    if amount > 0:
        values, ids = logits.topk(min(amount, len(logits)))
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        top = [_one(other, value - total, vocabulary) for other, value in pairs]
    return TokenLogprob(_one(token, float(logits[token]) - total, vocabulary), tuple(top))


def _one(token: int, logprob: float, vocabulary: Vocabulary) -> TopLogprob:
    piece = vocabulary.pieces(token)
    return TopLogprob(piece.decode("utf-8", "replace"), max(logprob, _LOWEST), tuple(piece), token)

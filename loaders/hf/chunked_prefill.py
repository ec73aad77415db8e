"""Whether a model goes on with what it has read: some architectures begin anew with each piece of a prompt."""

from __future__ import annotations

import torch

from loaders.hf.forward import Forward
from modules.errors import LoadFailed
from modules.types import Decision

_TRIED, _FIRST = 24, 16  # tokens
_ROUNDING = 0.05  # share of what the first piece changes that number types of 16 bit may lose
_LOST = 0.5


def goes_on(forward: Forward, vocabulary: int) -> Decision[bool]:
    """Whether a prompt may be read in pieces and a kept one gone on with. Tried on a few tokens, for models whose
    memory is not keys and values alone. Raises LoadFailed for one that forgets from token to token."""
    if forward.shared.value or not forward.counts:
        return Decision(True, "What was read is kept as keys and values.")
    tokens = [1 + 7919 * place % (vocabulary - 1) for place in range(_TRIED)]
    whole = _behind(forward, tokens)
    if _share_lost(forward, tokens, _TRIED - 1, whole) > _LOST:
        raise LoadFailed(f"{type(forward.model).__name__} forgets what it has read from one token to the next here.",
                         hint="Look for a GGUF of this model.")  # fmt: skip
    if _share_lost(forward, tokens, _FIRST, whole) > _ROUNDING:
        return Decision(
            False, "This architecture begins anew with each piece, so a prompt is read at once and not kept."
        )
    return Decision(True, "It was tried: what is read in pieces is as if read at once.")


def _share_lost(forward: Forward, tokens: list[int], first: int, whole: torch.Tensor) -> float:
    """0 = a second piece is as if the whole was read at once, 1 = as if there had been no first piece."""
    apart = _behind(forward, tokens[:first], tokens[first:])
    alone = _behind(forward, tokens[first:])
    return float((apart - whole).norm() / (alone - whole).norm().clamp(min=1e-6))


def _behind(forward: Forward, *pieces: list[int]) -> torch.Tensor:
    """The logits behind these pieces, read one after the other."""
    cache = forward.cache()
    logits = [forward(cache, [piece])[0, -1] for piece in pieces]
    return logits[-1].float()

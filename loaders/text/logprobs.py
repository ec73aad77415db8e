"""Log-probabilities of the model's own distribution, before any sampler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from modules.types import TokenLogprob, TopLogprob


def logprob_of(logits: npt.NDArray[np.float32], token: int, top: int, piece: Callable[[int], bytes]) -> TokenLogprob:
    """The chosen token's and the `top` best ones', best first, in nats."""
    high = float(logits.max())
    total = high + float(np.log(np.exp(logits - high, dtype=np.float64).sum()))

    def candidate(one: int) -> TopLogprob:
        data = piece(one)
        return TopLogprob(data.decode("utf-8", "replace"), min(0.0, float(logits[one]) - total), tuple(data), one)

    best = np.argpartition(logits, -top)[-top:] if top else np.empty(0, np.intp)
    best = best[np.argsort(-logits[best], kind="stable")]
    return TokenLogprob(candidate(token), tuple(candidate(int(one)) for one in best))

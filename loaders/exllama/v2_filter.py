"""A grammar for ExLlamaV2, by llguidance: the library has none of its own that is kept up."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from exllamav2.generator.filters import ExLlamaV2Filter

from loaders.exllama.grammar import GrammarTokenizer


class GuidanceFilter(ExLlamaV2Filter):  # type: ignore[misc]
    """Masks the logits of every step. One per job."""

    def __init__(self, model: Any, tokenizer: Any, guide: GrammarTokenizer, grammar: str) -> None:
        super().__init__(model, tokenizer)
        self._guide = guide
        self._grammar = grammar
        self._matcher: Any = None
        self._mask: Any = None

    def begin(self, prefix_str: str) -> None:
        """The reply starts."""
        from llguidance import LLMatcher

        self._matcher = LLMatcher(self._guide.tokenizer, self._grammar)

    def feed(self, token: Any) -> None:
        """A token stands."""
        if self._matcher is not None and not self._matcher.is_stopped():
            self._matcher.consume_token(int(token.item()))

    def use_background_worker(self) -> bool:
        """The mask is computed while the GPU computes the logits."""
        return True

    def can_mask_logits(self) -> bool:
        """It gives a mask, not a list of tokens."""
        return True

    def prepare_logit_mask(self) -> bool:
        """Computes the mask of the next step."""
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        if self._mask is None:
            self._mask = allocate_token_bitmask(1, self._guide.tokenizer.vocab_size)
        fill_next_token_bitmask(self._matcher, self._mask)
        return True

    def mask_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """A copy with all other tokens at minus infinity: the logits themselves are told as logprobs."""
        allowed = np.unpackbits(self._mask[0].view(np.uint8), bitorder="little").astype(bool)
        values = logits.numpy().copy()
        width = min(len(allowed), len(values))
        values[width:] = -np.inf
        values[:width][~allowed[:width]] = -np.inf
        return torch.from_numpy(values)

"""What the samplers know of a model's tokens: how many, which end a reply, and the bytes of each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

from loaders.torch_sampling.breakers import BreakerIndex, Breakers

_REMEMBERED = 8  # sets of DRY breakers; nearly everybody uses the same


class Vocabulary:
    """Made once per model and shared by its requests. Thread-safe, as far as `pieces` is.

    size      number of logits the model gives (may be more than the tokenizer has tokens: padding)
    eos       ids that end a reply
    pieces    a token's exact bytes; b"" for padding and for ids the tokenizer does not know
    tokenize  text as token ids without special tokens, for DRY breakers of several tokens; None = the longest
              tokens that fit, which for nearly all breakers is the same
    """

    def __init__(
        self,
        size: int,
        eos: frozenset[int],
        pieces: Callable[[int], bytes],
        tokenize: Callable[[str], Sequence[int]] | None = None,
    ) -> None:
        self.size = size
        self.eos = eos
        self.pieces = pieces
        self.tokenize = tokenize
        self._lock = Lock()
        self._index: BreakerIndex | None = None
        self._breakers: OrderedDict[tuple[str, ...], Breakers] = OrderedDict()

    def breakers(self, strings: Sequence[str]) -> Breakers:
        """DRY's sequence breakers as tokens. The first call reads every token: a moment per 100,000 of them."""
        key = tuple(strings)
        with self._lock:
            if key not in self._breakers:
                if self._index is None:
                    self._index = BreakerIndex(self.size, self.pieces, self.tokenize)
                self._breakers[key] = self._index.breakers(strings)
                while len(self._breakers) > _REMEMBERED:
                    self._breakers.popitem(last=False)
            self._breakers.move_to_end(key)
            return self._breakers[key]

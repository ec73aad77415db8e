"""What the samplers know of a model's tokens: how many, which end a reply, and the bytes of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Vocabulary:
    """Made once per model and shared by its requests.

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

"""Tokens guessed ahead, to be checked in one call of the model.

A guess never changes the text: the sampler draws each token from the model's own logits, and a guess is right when
it is what was drawn. So this works with every sampler, seed and grammar.
"""

from __future__ import annotations

from typing import Protocol

from loaders.hf.cancellation import Asked, Stopped
from loaders.hf.forward import Forward
from loaders.hf.prefix_cache import in_common


class Speculator(Protocol):
    """Guesses what comes next. On the model's thread only.

    guess  at most `most` tokens that may follow `tokens`; [] where it has no idea, or no time for one yet
    learn  how many of the last guess's tokens were right
    """

    def guess(self, tokens: list[int], most: int, cancelled: Asked) -> list[int]: ...

    def learn(self, right: int, of: int) -> None: ...


class PromptLookup:
    """What followed the last few tokens when they stood there before (prompt lookup; Saxena 2023)."""

    def __init__(self, ahead: int, longest: int = 3, reach: int = 8192) -> None:
        self._ahead = ahead
        self._longest = longest
        self._reach = reach

    def guess(self, tokens: list[int], most: int, cancelled: Asked) -> list[int]:
        """The continuation of the latest place that ends as `tokens` do, longest likeness first."""
        tokens = tokens[-self._reach :]
        for size in range(self._longest, 0, -1):
            if len(tokens) <= size:
                continue
            tail = tokens[-size:]
            for start in range(len(tokens) - size - 1, -1, -1):
                if tokens[start] == tail[0] and tokens[start : start + size] == tail:
                    return tokens[start + size : start + size + min(self._ahead, most)]
        return []

    def learn(self, right: int, of: int) -> None:
        """It does not."""


class Draft:
    """A small model with the same vocabulary that writes ahead; how far follows from how often it was right.

    It reads `piece` tokens at a time. Until it has caught up with a prompt it guesses nothing, and the reply goes on
    by itself: so it holds up others, and a cancel, no longer than a prompt of the large model does.
    """

    def __init__(self, forward: Forward, ahead: int, piece: int) -> None:
        self._forward = forward
        self._piece = piece
        self._most = ahead
        self._ahead = min(4, ahead)
        self._cache = forward.cache()

    def guess(self, tokens: list[int], most: int, cancelled: Asked) -> list[int]:
        """The tokens the small model finds likeliest."""
        known = min(in_common(self._cache.lines[0].tokens, tokens), len(tokens) - 1)
        if known < len(self._cache.lines[0].tokens):
            self._cache.cut(known)  # type: ignore[union-attr]
        new, out = tokens[known : known + self._piece], list[int]()
        try:
            if known + self._piece < len(tokens):
                self._forward(self._cache, [new], cancelled=cancelled)
                return []
            for _ in range(min(self._ahead, most)):
                best = int(self._forward(self._cache, [new], cancelled=cancelled)[0, -1].argmax())
                out.append(best)
                new = [best]
        except Stopped:
            return []
        return out

    def learn(self, right: int, of: int) -> None:
        """All right: dare more. Half wrong: less."""
        if right == of:
            self._ahead = min(self._most, self._ahead + 2)
        elif 2 * right < of:
            self._ahead = max(1, self._ahead - 1)

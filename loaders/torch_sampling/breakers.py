"""DRY's sequence breakers as tokens, for one vocabulary.

A breaker is a string; text that ends a repetition may hold it within one token or over several. As in llama.cpp, a
token that contains it breaks alone, and one that ends with its beginning breaks when the rest follows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence

Breakers = Mapping[int, tuple[tuple[int, ...], ...]]
"""First token → the sequences that may follow it; () = it breaks alone."""

LONGEST_TAIL = 20  # tokens
_LONGEST = 40  # bytes of a breaker; both as in llama.cpp


class BreakerIndex:
    """Finds a string in all tokens at once: looking into each of 256,000 would take a second for every breaker."""

    def __init__(
        self, size: int, piece_of: Callable[[int], bytes], tokenize: Callable[[str], Sequence[int]] | None
    ) -> None:
        self._tokenize = tokenize
        pieces = [piece_of(token) for token in range(size)]
        self._starts, at = [], 0
        for piece in pieces:
            self._starts.append(at)
            at += len(piece)
        self._ends = [start + len(piece) for start, piece in zip(self._starts, pieces, strict=True)]
        self._text = b"".join(pieces)
        self._backwards = sorted((piece[::-1], token) for token, piece in enumerate(pieces))
        self._words = {piece: token for token, piece in reversed(list(enumerate(pieces))) if piece}
        self._longest_word = max(map(len, self._words), default=0)

    def breakers(self, strings: Sequence[str]) -> Breakers:
        """The table for these strings together."""
        table: dict[int, set[tuple[int, ...]]] = {}
        for string in strings:
            for token, tail in self._of(string.encode("utf-8")[:_LONGEST]):
                table.setdefault(token, set()).add(tail)
        return {token: tuple(sorted(tails)) for token, tails in table.items()}

    def _of(self, wanted: bytes) -> list[tuple[int, tuple[int, ...]]]:
        if not wanted:
            return []
        whole = self._containing(wanted)
        found: list[tuple[int, tuple[int, ...]]] = [(token, ()) for token in whole]
        for cut in range(1, len(wanted)):
            tail = self._tokens(wanted[cut:])
            found.extend((token, tail) for token in self._ending(wanted[:cut]) if token not in whole)
        return found

    def _containing(self, wanted: bytes) -> set[int]:
        out, at = set(), self._text.find(wanted)
        while at >= 0:
            token = bisect_right(self._starts, at) - 1
            if at + len(wanted) <= self._ends[token]:
                out.add(token)
                at = self._text.find(wanted, self._ends[token])
            else:
                at = self._text.find(wanted, at + 1)
        return out

    def _ending(self, wanted: bytes) -> list[int]:
        backwards = wanted[::-1]
        at = bisect_left(self._backwards, (backwards, -1))
        out = []
        while at < len(self._backwards) and self._backwards[at][0].startswith(backwards):
            out.append(self._backwards[at][1])
            at += 1
        return out

    def _tokens(self, text: bytes) -> tuple[int, ...]:
        """Text as tokens: by the model's tokenizer, or the longest that fit."""
        if self._tokenize is not None:
            return tuple(self._tokenize(text.decode("utf-8", "ignore")))[:LONGEST_TAIL]
        out: list[int] = []
        while text and len(out) < LONGEST_TAIL:
            for length in range(min(len(text), self._longest_word), 0, -1):
                if (token := self._words.get(text[:length])) is not None:
                    out.append(token)
                    text = text[length:]
                    break
            else:
                break
        return tuple(out)

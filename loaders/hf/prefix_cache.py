"""Computed prompts that are kept: the next turn of a chat begins where its last one ended.

What is taken for a request leaves the store and comes back, longer, when its reply is over. A prompt that shares only
its beginning with a kept one (the same system prompt, another try at a reply) gets a copy of that part while there is
room, so that a short request does not cost a chat what was read for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from loaders.hf.cache import SharedCache
from loaders.hf.forward import AnyCache, Forward, OwnCache

WORTH_COPYING = 16
"""Tokens in common below which computing is as quick as copying."""
A_FEW = 8
"""Tokens at the end of a kept prompt that are no loss: a text is cut into tokens anew when it goes on."""

Key = TypeVar("Key")


def in_common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


@dataclass(slots=True)
class PrefixCache(Generic[Key]):
    """Caches with one line each, latest used last. `key` tells what they were computed with (the adapters).

    limit  bytes that may be kept; 0 = nothing is
    """

    forward: Forward
    limit: int
    _kept: list[tuple[Key, AnyCache]] = field(default_factory=list)

    def take(self, key: Key, prompt: Sequence[int], images: str = "") -> AnyCache:
        """A cache that holds as much of the beginning of `prompt` as is known, but never all of it."""
        best, length = None, 0
        for entry in self._kept:
            line = entry[1].lines[0]
            if entry[0] == key and line.images == images:
                known = min(in_common(line.tokens, prompt), len(prompt) - 1)
                if known > length and (isinstance(entry[1], SharedCache) or known == len(line.tokens)):
                    best, length = entry, known
        if best is None or length < WORTH_COPYING:
            return self.forward.cache()
        cache = best[1]
        line = cache.lines[0]
        if isinstance(cache, SharedCache) and length + A_FEW < len(line.tokens) and self._room_for(cache, length):
            return cache.copy(line, length)
        self._kept.remove(best)
        if isinstance(cache, SharedCache):
            cache.cut(length)
        return cache

    def keep(self, key: Key, cache: AnyCache) -> None:
        """Have a cache back; the ones not used for longest go when it gets too much."""
        tokens = cache.lines[0].tokens
        if self.limit <= 0 or not tokens or (isinstance(cache, OwnCache) and len(tokens) < WORTH_COPYING):
            return
        self._kept = [entry for entry in self._kept if entry[0] != key or not _within(entry[1], cache)]
        self._kept.append((key, cache))
        sizes = [entry[1].size() for entry in self._kept]
        while self._kept and sum(sizes) > self.limit:
            del sizes[0], self._kept[0]

    def _room_for(self, cache: SharedCache, length: int) -> bool:
        """Whether a copy of so many tokens fits beside all that is kept; else the prompt itself is taken."""
        more = cache.size() * length // max(1, cache.span.end)
        return sum(entry[1].size() for entry in self._kept) + more <= self.limit

    def clear(self) -> bool:
        """Give all memory back; says whether there was any."""
        had = bool(self._kept)
        self._kept.clear()
        return had


def _within(old: AnyCache, new: AnyCache) -> bool:
    """Whether all that `old` knows is known by `new` too."""
    first, second = old.lines[0], new.lines[0]
    return first.images == second.images and second.tokens[: len(first.tokens)] == first.tokens

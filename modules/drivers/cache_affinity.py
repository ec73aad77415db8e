"""Which server has read most of a conversation already: its beginning is in that server's cache.

A conversation is a chain of hashes, one per message (or per block of a raw prompt), each over all before it. A server
is remembered with the chains it answered; the longest one it shares with a new request says how much it has.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from modules.types import GenerationRequest

BLOCK = 256
"""Characters or tokens of a raw prompt that count as one part."""
REMEMBERED = 4096
"""Hashes kept for each server; the oldest go first."""


def chain(request: GenerationRequest) -> list[bytes]:
    """The hashes of a request's beginnings, shortest first."""
    state, out = blake2b(digest_size=16), []
    for part in _parts(request):
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
        out.append(state.digest())
    return out


def _parts(request: GenerationRequest) -> list[bytes]:
    if request.messages is not None:
        return [
            "\0".join((message.role, message.content, *message.images)).encode("utf-8", "surrogatepass")
            for message in request.messages
        ]
    prompt = request.prompt_text or request.prompt or ""
    if isinstance(prompt, tuple):
        numbers = [prompt[start : start + BLOCK] for start in range(0, len(prompt), BLOCK)]
        return [repr(block).encode() for block in numbers if len(block) == BLOCK or len(numbers) == 1]
    texts = [prompt[start : start + BLOCK] for start in range(0, len(prompt), BLOCK)]
    return [block.encode("utf-8", "surrogatepass") for block in texts if len(block) == BLOCK or len(texts) == 1]


class Prefixes:
    """What one server has read."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def shared(self, hashes: list[bytes]) -> int:
        """How many parts of a chain it has read."""
        count = 0
        for mark in hashes:
            if mark not in self._known:
                break
            count += 1
        return count

    def add(self, hashes: list[bytes]) -> list[bytes]:
        """It reads this chain now. Gives the part of it that is new to it."""
        new = [mark for mark in hashes if mark not in self._known]
        for mark in hashes:
            self._known[mark] = None
            self._known.move_to_end(mark)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return new

    def remove(self, hashes: list[bytes]) -> None:
        """It did not read these after all."""
        for mark in hashes:
            self._known.pop(mark, None)

    def clear(self) -> None:
        """It was started anew, and knows nothing."""
        self._known.clear()

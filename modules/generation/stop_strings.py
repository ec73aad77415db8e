"""Finds the first of several strings in a text that arrives in pieces.

Aho & Corasick 1975 ("Efficient string matching: an aid to bibliographic search"): one table for all
strings, one step per character, and the depth of the current state is exactly the text that has to be held
back. While nothing is held, a regular expression skips to the next character that could begin a string.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

from modules.errors import BadParameter

MOST_CHARACTERS = 20_000


class StopMatcher:
    """Feed pieces; get what is certain. The first needle *completed* wins, the longest of those that end together."""

    __slots__ = ("_depth", "_fail", "_found", "_goto", "_held", "_needles", "_skip", "_state")

    def __init__(self, needles: Iterable[str]) -> None:
        self._needles = tuple(dict.fromkeys(needle for needle in needles if needle))
        if sum(map(len, self._needles)) > MOST_CHARACTERS:
            raise BadParameter(f"The stop strings are longer than {MOST_CHARACTERS} characters together.", param="stop")
        self._state = 0
        self._held = ""
        self._goto: list[dict[str, int]] = [{}]
        self._fail = [0]
        self._depth = [0]
        self._found: list[str | None] = [None]
        firsts = "".join(sorted({re.escape(needle[0]) for needle in self._needles}))
        self._skip = re.compile(f"[{firsts}]") if firsts else None
        for needle in self._needles:
            self._add(needle)
        self._link()

    def idle(self, text: str) -> bool:
        """Whether nothing is held back and `text` cannot begin a needle: it may pass as it is."""
        return self._skip is None or (not self._held and self._skip.search(text) is None)

    def feed(self, text: str) -> tuple[str, str | None, str]:
        """(text that is certainly before any needle, the needle that was completed, what follows it)."""
        if self._skip is None:
            return text, None, ""
        goto, fail, found = self._goto, self._fail, self._found
        state, place, size = self._state, 0, len(text)
        while place < size:
            if state == 0:
                match = self._skip.search(text, place)
                if match is None:
                    break
                place = match.start()
            char = text[place]
            place += 1
            while (step := goto[state].get(char)) is None and state:
                state = fail[state]
            state = step or 0
            hit = found[state]
            if hit is not None:
                before = (self._held + text[:place])[: -len(hit)]
                self._state, self._held = 0, ""
                return before, hit, text[place:]
        self._state = state
        whole = self._held + text
        keep = len(whole) - self._depth[state]
        self._held = whole[keep:]
        return whole[:keep], None, ""

    def flush(self) -> str:
        """What was held back, now that nothing more comes."""
        held, self._held, self._state = self._held, "", 0
        return held

    def _add(self, needle: str) -> None:
        state = 0
        for char in needle:
            step = self._goto[state].get(char)
            if step is None:
                step = len(self._goto)
                self._goto[state][char] = step
                self._goto.append({})
                self._fail.append(0)
                self._depth.append(self._depth[state] + 1)
                self._found.append(None)
            state = step
        self._found[state] = needle

    def _link(self) -> None:
        """Failure links, nearest states first: where to go on when the next character does not fit."""
        queue = deque(self._goto[0].values())
        while queue:
            state = queue.popleft()
            for char, child in self._goto[state].items():
                back = self._fail[state]
                while back and char not in self._goto[back]:
                    back = self._fail[back]
                target = self._goto[back].get(char, 0)
                self._fail[child] = target if target != child else 0
                if self._found[child] is None:
                    self._found[child] = self._found[self._fail[child]]
                queue.append(child)

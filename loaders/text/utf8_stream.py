"""Whole characters out of tokens: a token may hold only a part of a character, and text has to be whole."""

from __future__ import annotations

import codecs


class TextPieces:
    """Takes the bytes of one token after the other and gives back what is complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The characters that are whole with `data`; what could still become one is kept. Wrong bytes become U+FFFD."""
        return self._decoder.decode(data)

    @property
    def waiting(self) -> bytes:
        """The beginning of a character whose rest has not come; at the end of a reply it is no text."""
        return self._decoder.getstate()[0]

"""Text to tokens and back, through the model's own vocabulary. Reads only, so any thread may call it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp

from modules.messages.reasoning import MARK_TOKENS, model_marks

_ROOM = 64


class Vocabulary:
    """The tokens of one loaded model."""

    def __init__(self, model: Any) -> None:
        self.pointer = llama_cpp.llama_model_get_vocab(model)
        self.size = int(llama_cpp.llama_vocab_n_tokens(self.pointer))
        self.bos = int(llama_cpp.llama_vocab_bos(self.pointer))
        self.eos = int(llama_cpp.llama_vocab_eos(self.pointer))
        self._adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(self.pointer))
        self.ends = frozenset(
            token for token in range(self.size) if llama_cpp.llama_vocab_is_eog(self.pointer, token)
        )  # fmt: skip
        found = {mark: self.tokenize(mark, False) for mark in MARK_TOKENS}
        single = {mark: tokens[0] for mark, tokens in found.items() if len(tokens) == 1}
        self._marks = frozenset(single[mark] for mark in model_marks(single.__contains__)) - self.ends

    def tokenize(self, text: str, special: bool) -> list[int]:
        """`special` adds what the model puts around a text; names of special tokens are read as such either way.

        A chat template writes the first token itself: it is not put there twice.
        """
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            found = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self.pointer, data, len(data), found, room, special, True)
            if count >= 0:
                break
            room = -count
        tokens = list(found[:count])
        if special and self._adds_bos and tokens[:2] == [self.bos, self.bos]:
            del tokens[0]
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens; what is no whole character is shown as U+FFFD. Special tokens are written out."""
        known = [token for token in tokens if 0 <= token < self.size]
        given = (llama_cpp.llama_token * len(known))(*known)
        room = 16 + _ROOM * len(known)
        while True:
            text = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_detokenize(self.pointer, given, len(known), text, room, False, True)
            if count >= 0:
                return text.raw[:count].decode("utf-8", "replace")
            room = -count

    def piece(self, token: int, special: bool = False) -> bytes:
        """The bytes one token adds to a text; nothing for a special token unless `special`, or it marks thinking."""
        special = special or token in self._marks
        room = _ROOM
        while True:
            text = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_token_to_piece(self.pointer, token, text, room, 0, special)
            if count >= 0:
                return text.raw[:count]
            room = -count

    def name(self, token: int) -> str:
        """A special token as templates write it; "" for none."""
        return self.piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

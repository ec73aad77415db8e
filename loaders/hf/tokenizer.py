"""A model's tokenizer in our words: ids, exact bytes of a token, and what is text at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from loaders.torch_sampling.grammar import GrammarTokenizer
from loaders.torch_sampling.vocabulary import Vocabulary
from modules.messages.reasoning import model_marks


class HfTokenizer:
    """Wraps a Hugging Face tokenizer. `size` is how many logits the model gives."""

    def __init__(self, tokenizer: Any, size: int, eos: frozenset[int]) -> None:
        self.tokenizer = tokenizer
        self.size = size
        self.eos = eos
        added = tokenizer.added_tokens_decoder
        marks = frozenset(model_marks(frozenset(token.content for token in added.values()).__contains__))
        self._hidden = frozenset(
            number for number, token in added.items() if token.special and token.content not in marks
        )
        self._added: Mapping[int, bytes] = {
            number: token.content.encode() for number, token in tokenizer.added_tokens_decoder.items()
        }

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of a text; with `special` also what the model puts before it, but never twice.

        A chat template writes the beginning-of-text token itself, and some tokenizers end every text with theirs,
        which would tell the model that there is nothing more to say.
        """
        ids: list[int] = list(self.tokenizer(text, add_special_tokens=special)["input_ids"])
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if special and len(ids) > 1 and bos is not None and ids[0] == ids[1] == bos:
            del ids[0]
        if special and len(ids) > 1 and ids[-1] == eos and not text.endswith(str(self.tokenizer.eos_token)):
            del ids[-1]
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids, special tokens written out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def text_bytes(self, token: int) -> bytes:
        """What a token adds to a reply: nothing when it is a mark of the model's own."""
        return b"" if token in self._hidden else self.bytes_of(token)

    def bytes_of(self, token: int) -> bytes:
        """A token's exact bytes, which may be a part of a character; b"" for one the tokenizer does not know."""
        if token in self._added:
            return self._added[token]
        return self._table.get(token, b"")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the samplers know of the tokens; special ones have no text there."""
        return Vocabulary(self.size, self.eos, self.text_bytes, lambda text: self.encode(text, False))

    @cached_property
    def for_grammars(self) -> GrammarTokenizer:
        """The tokens as grammars see them."""
        if getattr(self.tokenizer, "backend_tokenizer", None) is not None:
            return GrammarTokenizer.from_transformers(self.tokenizer, self.eos, self.size)
        pieces = [self.bytes_of(token) for token in range(self.size)]
        return GrammarTokenizer.from_pieces(pieces, self.eos, frozenset(self._hidden))

    @cached_property
    def _table(self) -> Mapping[int, bytes]:
        pieces: Mapping[str, int] = self.tokenizer.get_vocab()
        if _is_byte_level(self.tokenizer):
            letters = _byte_letters()
            return {number: _from_letters(piece, letters) for piece, number in pieces.items()}
        return {number: _from_sentencepiece(piece) for piece, number in pieces.items()}


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether every byte is written as a letter of its own (GPT-2's way), as the tokenizer's own decoder says."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    return '"ByteLevel"' in json.dumps(json.loads(backend.to_str()).get("decoder"))


def _byte_letters() -> Mapping[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others come after 255."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _from_letters(piece: str, letters: Mapping[str, int]) -> bytes:
    if all(letter in letters for letter in piece):
        return bytes(letters[letter] for letter in piece)
    return piece.encode()


def _from_sentencepiece(piece: str) -> bytes:
    """`▁` stands for a space and `<0x0A>` for a byte."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("▁", " ").encode()

"""Grammars and JSON schemas: which tokens may come next. llguidance does the work."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from modules.errors import BadParameter, EngineError
from modules.grammars.gbnf import GrammarRefused, read_gbnf, refused
from modules.grammars.lark import to_lark

_REMEMBERED = 16  # compiled grammars: the n choices of a request, and tools that stay the same over a chat
_LONGEST_REASON = 300  # characters
_NOTHING = {"special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
"""llguidance wants a token that ends a reply. A model without any gets one behind its own, which is never drawn. As
tokens are numbered without gaps, what a model has logits for and its tokenizer does not know gets one each as well."""


class GrammarTokenizer:
    """llguidance's picture of a model's tokens; takes up to a second to make, so once per model. Thread-safe."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        self._tokenizer = tokenizer
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = Lock()

    @classmethod
    def from_transformers(cls, tokenizer: Any, eos: frozenset[int], size: int | None = None) -> GrammarTokenizer:
        """Of a transformers fast tokenizer. `size`: number of the model's logits, where that is more than tokens.

        Raises ValueError for a tokenizer that is not a fast one: use `from_pieces`.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ValueError("llguidance reads only fast tokenizers.")
        found = json.loads(backend.to_str())
        found["truncation"] = found["padding"] = None
        known = backend.get_vocab_size(with_added_tokens=True)
        size = max(size or 0, known)
        if not eos:
            more = [{**_NOTHING, "content": f"<|nothing {number}|>", "id": number} for number in range(known, size + 1)]
            found["added_tokens"] += more
            eos, size = frozenset({size}), size + 1
        return cls(LLTokenizer(json.dumps(found), n_vocab=size, eos_token=sorted(eos)))

    @classmethod
    def from_pieces(
        cls, pieces: Sequence[bytes], eos: frozenset[int], special: frozenset[int] = frozenset()
    ) -> GrammarTokenizer:
        """Of every token's bytes, where there is no tokenizer llguidance could read. `special`: tokens that are no
        text."""
        if not eos:
            pieces, eos = [*pieces, b""], frozenset({len(pieces)})
        return cls(LLTokenizer(TokenizerWrapper(_Pieces(pieces, eos, special | eos)), eos_token=sorted(eos)))

    def matcher(self, grammar: str) -> LLMatcher:
        """A fresh matcher. Raises BadParameter with llguidance's words for what it cannot compile."""
        with self._lock:
            known = self._compiled.get(grammar)
            if known is not None:
                self._compiled.move_to_end(grammar)
                return known.deep_copy()
        made = LLMatcher(self._tokenizer, grammar, log_level=0)  # lets go of the interpreter meanwhile
        if made.is_error():
            raise refused(_reason(made.get_error()))
        probe = made.deep_copy()
        probe.compute_bitmask()
        if probe.is_error():
            raise refused(f"no text fits it ({_reason(probe.get_error())}).")
        with self._lock:
            self._compiled[grammar] = made
            while len(self._compiled) > _REMEMBERED:
                self._compiled.popitem(last=False)
        return made.deep_copy()


class Grammar:
    """The state of one reply that keeps to a grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @staticmethod
    def for_gbnf(text: str, tokenizer: GrammarTokenizer) -> Grammar:
        """Raises BadParameter (param "grammar") with the reason and the line."""
        return Grammar(tokenizer.matcher(LLMatcher.grammar_from_lark(to_lark(read_gbnf(text)))))

    @staticmethod
    def for_schema(schema: Mapping[str, Any], tokenizer: GrammarTokenizer) -> Grammar:
        """Raises BadParameter (param "response_format") with what of the schema cannot be enforced."""
        try:
            return Grammar(tokenizer.matcher(LLMatcher.grammar_from_json_schema(dict(schema))))
        except (GrammarRefused, ValueError) as error:
            said = error.reason if isinstance(error, GrammarRefused) else str(error)
            raise BadParameter(
                f"This JSON schema cannot be enforced: {said}",
                hint="Leave that part out of the schema, and check it in the reply.",
                param="response_format",
                code="schema_unsupported",
            ) from None

    def allowed(self, size: int) -> NDArray[np.bool_]:
        """Which of the vocabulary's tokens may come next, at least one. Raises EngineError where llguidance gave up."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        mask = np.unpackbits(bits, count=size, bitorder="little").view(np.bool_)
        if self._matcher.is_error() or not mask.any():
            raise EngineError(
                f"The grammar cannot be followed further: {_reason(self._matcher.get_error()) or 'no token fits'}.",
                hint="Make the grammar simpler, or leave it out.",
                code="grammar_failed",
            )
        return mask

    def accept(self, token: int) -> None:
        """The reply goes on with this token, which has to be an allowed one."""
        if not self._matcher.consume_token(token):
            raise EngineError(
                f"The grammar refused a token it had allowed: {_reason(self._matcher.get_error())}",
                code="grammar_failed",
            )

    @property
    def complete(self) -> bool:
        """Whether nothing can follow but the end."""
        return bool(self._matcher.is_stopped())


class _Pieces:
    """What llguidance wants of a tokenizer. Text is cut into the longest tokens that fit."""

    def __init__(self, pieces: Sequence[bytes], eos: frozenset[int], special: frozenset[int]) -> None:
        self.tokens = [b"\xff" + piece if token in special else piece for token, piece in enumerate(pieces)]
        self.special_token_ids = sorted(special)
        self.eos_token_id = min(eos)
        self.bos_token_id = None
        words = {piece: token for token, piece in reversed(list(enumerate(pieces))) if piece and token not in special}
        self._words, self._longest = words, max(map(len, words), default=0)

    def __call__(self, text: bytes | str) -> list[int]:
        left = text.encode("utf-8") if isinstance(text, str) else text
        out = []
        while left:
            for length in range(min(len(left), self._longest), 0, -1):
                if (token := self._words.get(left[:length])) is not None:
                    out.append(token)
                    left = left[length:]
                    break
            else:
                left = left[1:]
        return out


def _reason(said: str) -> str:
    """llguidance's words without the state of its parser that may follow."""
    said = " ".join(said.partition("<state>")[0].partition("\n\n")[0].split())
    return said if len(said) <= _LONGEST_REASON else said[:_LONGEST_REASON] + "…"

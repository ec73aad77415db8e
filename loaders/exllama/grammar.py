"""Tokens' exact bytes, and grammars as the libraries take them, by llguidance from the folder's tokenizer.json."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from modules.errors import BadParameter, LoadFailed
from modules.types import GenerationRequest


class GrammarTokenizer:
    """One per loaded model. Reading a large vocabulary takes about a second, so it waits for the first need."""

    def __init__(self, folder: Path, ends: tuple[int, ...]) -> None:
        self._file = folder / "tokenizer.json"
        self._ends = ends

    @cached_property
    def tokenizer(self) -> Any:
        """llguidance's own picture of the vocabulary."""
        try:
            from llguidance import LLTokenizer
        except ImportError as error:
            raise LoadFailed("Grammars and logprobs need llguidance, which is not installed.",
                             hint="Install it: python3 start.py install.") from error  # fmt: skip
        text = self._file.read_text(encoding="utf-8")
        return LLTokenizer(text, eos_token=list(self._ends)) if self._ends else LLTokenizer(text)

    def piece(self, token: int) -> bytes:
        """A token's exact bytes, which may be part of a character."""
        return bytes(self.tokenizer.decode_bytes([token]))

    def grammar(self, request: GenerationRequest) -> str:
        """What the reply has to keep to, in llguidance's form; "" for nothing. Raises BadParameter."""
        from llguidance import LLMatcher

        from modules.grammars.gbnf import read_gbnf
        from modules.grammars.lark import to_lark

        if request.grammar and request.json_schema is not None:
            raise BadParameter("A grammar and a JSON schema exclude each other.", param="grammar")
        if request.grammar:
            found = LLMatcher.grammar_from_lark(to_lark(read_gbnf(request.grammar)))
        elif request.json_schema is not None:
            found = LLMatcher.grammar_from_json_schema(json.dumps(dict(request.json_schema)))
        else:
            return ""
        if wrong := LLMatcher.validate_grammar(found, self.tokenizer):
            name = "grammar" if request.grammar else "response_format"
            raise BadParameter(f"This {name} cannot be enforced: {str(wrong)[:300]}", param=name)
        return str(found)

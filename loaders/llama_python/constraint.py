"""What a reply has to keep to: a GBNF grammar by llama.cpp itself, a JSON schema by llguidance.

The package's own way from a schema to a grammar leaves out minimum, maximum and most patterns without a word, so it
is not used. llguidance is also what the server asks beforehand whether a schema can be enforced.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from typing import Any, Protocol

import llama_cpp
import numpy as np
import numpy.typing as npt

from loaders.llama_python.vocabulary import Vocabulary
from modules.errors import BadParameter, LoadFailed
from modules.types import GenerationRequest

Logits = npt.NDArray[np.float32]


class Constraint(Protocol):
    """Says which tokens may follow."""

    def allows(self, token: int) -> bool: ...
    def mask(self, logits: Logits) -> Logits: ...
    def accept(self, token: int) -> None: ...
    def close(self) -> None: ...


class Grammar:
    """A GBNF grammar. Raises BadParameter when llama.cpp cannot read it."""

    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._size = vocabulary.size
        self._pointer = llama_cpp.llama_sampler_init_grammar(vocabulary.pointer, text.encode("utf-8"), b"root")
        if not self._pointer:
            raise BadParameter("The grammar cannot be read as GBNF.", hint="The worker's log says where it stops.",
                               param="grammar")  # fmt: skip

    def allows(self, token: int) -> bool:
        """Whether the token may follow; much cheaper than asking for all."""
        one = (llama_cpp.llama_token_data * 1)((token, 1.0, 0.0))
        array = llama_cpp.llama_token_data_array(one, 1, -1, False)
        llama_cpp.llama_sampler_apply(self._pointer, ctypes.byref(array))
        return bool(one[0].logit > float("-inf"))

    def mask(self, logits: Logits) -> Logits:
        """The logits with every token that may not follow at minus infinity."""
        data = np.zeros(self._size, [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        data["id"], data["logit"] = np.arange(self._size), logits
        first = data.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        array = llama_cpp.llama_token_data_array(first, self._size, -1, False)
        llama_cpp.llama_sampler_apply(self._pointer, ctypes.byref(array))
        masked: Logits = data["logit"].copy()
        return masked

    def accept(self, token: int) -> None:
        llama_cpp.llama_sampler_accept(self._pointer, token)

    def close(self) -> None:
        if self._pointer is not None:
            llama_cpp.llama_sampler_free(self._pointer)
            self._pointer = None


class Schemas:
    """Compiles JSON schemas for one vocabulary; knows the vocabulary in llguidance's form after the first."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokenizer: Any = None

    def compile(self, schema: Mapping[str, Any]) -> JsonSchema:
        """Raises BadParameter for a schema that cannot be enforced."""
        try:
            from llguidance import LLMatcher
            from llguidance.llamacpp import lltokenizer_from_vocab
        except ImportError as error:
            raise LoadFailed("JSON schemas need llguidance, which is not installed.",
                             hint="Install it: python3 start.py install.") from error  # fmt: skip
        if self._tokenizer is None:
            ends = sorted(self._vocabulary.ends)
            self._tokenizer = lltokenizer_from_vocab(self._vocabulary.pointer, eos_token=ends or None)
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(dict(schema)))
        matcher = LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise BadParameter(f"This JSON schema cannot be enforced: {matcher.get_error()[:300]}",
                               param="response_format", code="schema_unsupported")  # fmt: skip
        return JsonSchema(matcher, self._vocabulary.size)


class JsonSchema:
    """One schema at one place of one reply."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher = matcher
        self._size = size
        self._bits = np.zeros((1, (size + 31) // 32), np.int32)

    def allows(self, token: int) -> bool:
        """Whether the token may follow."""
        return bool(self._matcher.validate_tokens([token]) == 1)

    def mask(self, logits: Logits) -> Logits:
        """The logits with every token that may not follow at minus infinity."""
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, self._bits)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._size].astype(bool)
        masked: Logits = np.where(allowed, logits, np.float32(-np.inf))
        return masked

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)

    def close(self) -> None:
        """Nothing to free."""


def constraint_of(request: GenerationRequest, vocabulary: Vocabulary, schemas: Schemas) -> Constraint | None:
    """What this request has to keep to, if anything. Raises BadParameter."""
    if request.grammar and request.json_schema is not None:
        raise BadParameter("A grammar and a JSON schema exclude each other.", param="grammar")
    if request.grammar:
        return Grammar(request.grammar, vocabulary)
    if request.json_schema is not None:
        return schemas.compile(request.json_schema)
    return None

"""What llama-server answers to /v1/embeddings and /v1/rerank, as our values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from modules.errors import EngineError
from modules.types import Embeddings, Ranking

TIMEOUT = 3600.0
"""Seconds for a whole list of texts; whoever asks may hang up before."""


def embeddings(answer: Mapping[str, Any], count: int) -> Embeddings:
    """One vector a text, in the order they were sent, each of length 1. Raises EngineError for a list that is short."""
    found: dict[int, tuple[float, ...]] = {}
    try:
        for entry in _entries(answer, "data", count):
            vector = entry["embedding"]
            if vector and isinstance(vector[0], list):  # a server that does not pool gives one vector a token
                raise EngineError("The engine gives one vector for each token instead of one for the text.",
                                  hint="Load the model with another pooling.")  # fmt: skip
            found[int(entry["index"])] = _of_length_one(vector)
        return Embeddings(tuple(found[number] for number in range(count)), _tokens(answer))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable("embeddings", error) from None


def ranking(answer: Mapping[str, Any], count: int) -> Ranking:
    """One score a document, in their order. Raises EngineError for a list that is short."""
    try:
        found = {int(entry["index"]): float(entry["relevance_score"]) for entry in _entries(answer, "results", count)}
        return Ranking(tuple(found[number] for number in range(count)), _tokens(answer))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable("scores", error) from None


def _unreadable(what: str, error: Exception) -> EngineError:
    return EngineError(f"The engine's {what} are not readable ({type(error).__name__}: {str(error)[:100]}).",
                       hint="Its log may say more.")  # fmt: skip


def _entries(answer: Mapping[str, Any], name: str, count: int) -> Sequence[Mapping[str, Any]]:
    entries = answer.get(name)
    if not isinstance(entries, list) or {int(entry["index"]) for entry in entries} != set(range(count)):
        raise EngineError(f"The engine did not answer for each of {count} texts.")
    return entries


def _tokens(answer: Mapping[str, Any]) -> int:
    usage = answer.get("usage") or {}
    return int(usage.get("total_tokens") or usage.get("prompt_tokens") or 0)


def _of_length_one(vector: Sequence[float]) -> tuple[float, ...]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    if length == 0 or abs(length - 1) < 1e-6:
        return tuple(vector)
    return tuple(value / length for value in vector)

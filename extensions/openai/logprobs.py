"""Token probabilities in OpenAI's two shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from modules.extension_api import TokenLogprob, TopLogprob, token_spans

NEVER = -9999.0  # OpenAI's stand-in for minus infinity, which JSON cannot hold


def finite(logprob: float | None) -> float:
    """The value, or NEVER; JSON between the engine and us has made minus infinity null."""
    return logprob if logprob is not None and math.isfinite(logprob) else NEVER


def _chat_token(token: TopLogprob) -> dict[str, Any]:
    raw = list(token.bytes) if token.bytes else list(token.token.encode("utf-8", "replace"))
    return {"token": token.token, "logprob": finite(token.logprob), "bytes": raw}


def chat_logprobs(marks: Sequence[TokenLogprob]) -> dict[str, Any]:
    """{"content": [{token, logprob, bytes, top_logprobs}], "refusal": null}"""
    content = [
        {**_chat_token(mark.chosen), "top_logprobs": [_chat_token(token) for token in mark.top]} for mark in marks
    ]
    return {"content": content, "refusal": None}


class CompletionLogprobs:
    """{tokens, token_logprobs, top_logprobs, text_offset} of one reply, with offsets into its whole text."""

    def __init__(self) -> None:
        self._place = 0

    def of(self, text: str, marks: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The next piece of the reply. Pieces have to come in order, also those without probabilities."""
        starts = [self._place + start for start, _ in token_spans(text, marks)] if marks else []
        self._place += len(text)
        return {
            "tokens": [mark.chosen.token for mark in marks],
            "token_logprobs": [finite(mark.chosen.logprob) for mark in marks],
            "top_logprobs": [{token.token: finite(token.logprob) for token in mark.top} for mark in marks],
            "text_offset": starts,
        }

"""OpenAI's words for token counts and for how a reply ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modules.extension_api import Done, Ended, TokenCounts


def usage(ended: Sequence[Ended], n: int) -> dict[str, Any]:
    """Counts of the whole request."""
    counts = TokenCounts.of(ended, n)
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }


def finish_reason(done: Done) -> str:
    """OpenAI's word for how the reply ended."""
    return done.reason if done.reason in ("length", "tool_calls") else "stop"

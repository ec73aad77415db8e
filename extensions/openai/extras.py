"""What every answer carries at its end: token counts, and the "enginehouse" part OpenAI's API has no place for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from modules.extension_api import Done, Ledger, Notice, Stats

Ended = tuple[Ledger | None, Done]


def usage(ended: Sequence[Ended], n: int) -> dict[str, Any]:
    """Counts of the whole request. The prompt of n choices counts once, as OpenAI counts it."""
    stats = [done.stats for _, done in ended]
    firsts = stats[:: max(1, n)]
    prompt = sum(one.prompt_tokens for one in firsts)
    completion = sum(one.completion_tokens for one in stats)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(one.cached_tokens for one in firsts)},
        "completion_tokens_details": {"reasoning_tokens": sum(one.reasoning_tokens for one in stats)},
    }


def enginehouse(ended: Sequence[Ended], notices: Iterable[Notice]) -> dict[str, Any]:
    """{notices, context, stats} of the reply; for several replies those of each are under "choices" too."""
    said = [asdict(notice) for notice in dict.fromkeys(notices)]
    each = [
        {
            "context": None if ledger is None else asdict(ledger),
            "stats": _stats(done.stats),
            "stop": done.stop,
        }
        for ledger, done in ended
    ]
    out: dict[str, Any] = {"notices": said, **each[0]}
    if len(each) > 1:
        out["choices"] = [{"index": index, **one} for index, one in enumerate(each)]
    return out


def _stats(stats: Stats) -> dict[str, Any]:
    return {**asdict(stats), "tokens_per_second": stats.tokens_per_second}


def finish_reason(done: Done) -> str:
    """OpenAI's word for how the reply ended."""
    return "length" if done.reason == "length" else "stop"

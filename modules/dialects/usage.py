"""What an answer says at its end: token counts, and the notices, the context and the figures of its replies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modules.types import Done, Ledger, Notice, Stats

Ended = tuple[Ledger | None, Done]


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of a whole request. `cached` is the part of the prompt that was not computed again, `reasoning` the part
    of the completion that was thinking."""

    prompt: int
    completion: int
    cached: int
    reasoning: int

    @classmethod
    def of(cls, ended: Sequence[Ended], n: int = 1) -> TokenCounts:
        """The counts of all replies. The prompt of n choices counts once."""
        stats = [done.stats for _, done in ended]
        firsts = stats[:: max(1, n)]
        return cls(
            sum(one.prompt_tokens for one in firsts),
            sum(one.completion_tokens for one in stats),
            sum(one.cached_tokens for one in firsts),
            sum(one.reasoning_tokens for one in stats),
        )


def reply_facts(ended: Sequence[Ended], notices: Iterable[Notice]) -> dict[str, Any]:
    """{notices, context, stats, stop} of the reply; for several replies those of each are under "choices" too."""
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

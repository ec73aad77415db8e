"""Token counts and times of one reply (time to first token, decoding time, queue): the only place that counts them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from modules.generation.stream_parser import StreamParser
from modules.types import Ledger, ParamValue, Progress, Stats


@dataclass(slots=True, eq=False)
class Stopwatch:
    """Lives as long as the reply's stream. Times are time.monotonic() in seconds, 0.0 = has not happened yet.

    leased    the model was ready for this request
    first     first token, `last` the latest one
    tokens    generated so far, `thought` those of them that the engine itself called reasoning
    stats     what the engine said of itself so far, `progress` its latest report
    """

    began: float = field(default_factory=time.monotonic)
    leased: float = 0.0
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    thought: int = 0
    seed: ParamValue | None = None
    context: int = 0
    stats: Stats = field(default_factory=Stats)
    progress: Progress | None = None
    ledger: Ledger | None = None
    parser: StreamParser | None = None

    def count(self, tokens: int) -> None:
        """Tokens have come."""
        self.last = time.monotonic()
        if not self.first:
            self.first = self.last
        self.tokens += tokens

    @property
    def prompt_tokens(self) -> int:
        """Of the prompt, as the engine said it; 0 when it has not."""
        if self.stats.prompt_tokens or self.progress is None or self.progress.stage != "prompt":
            return self.stats.prompt_tokens
        return self.progress.total

    def final(self, stats: Stats) -> Stats:
        """The engine's exact counts with the times a client sees.

        queued_ms: waiting for the model (load, swap) and in the engine's queue. first_token_ms: from the request to
        the first token, all included.
        """
        return self._timed(stats, self.first or time.monotonic())

    def so_far(self, prompt_tokens: int = 0) -> Stats:
        """Figures of a reply whose engine was cut off and gave none.

        prompt_tokens   the count where the engine did not say it; 0 = the ledger's, which may be an upper bound
        """
        known = self.prompt_tokens
        bound = self.ledger.prompt_tokens if self.ledger is not None else 0
        cached = self.progress.cached if self.progress is not None and known else 0
        stats = replace(
            self.stats,
            prompt_tokens=known or prompt_tokens or bound,
            cached_tokens=self.stats.cached_tokens or cached,
            completion_tokens=self.tokens,
            prompt_ms=self.stats.prompt_ms or (self.first - self.leased) * 1000 if self.first else self.stats.prompt_ms,
            completion_ms=(self.last - self.first) * 1000,
        )
        return self._timed(stats, self.first or self.began)

    def _timed(self, stats: Stats, first: float) -> Stats:
        seed = self.seed
        thought = self.thought + (self.parser.reasoning_tokens if self.parser is not None else 0)
        return replace(
            stats,
            seed=seed if stats.seed is None and isinstance(seed, int) and seed >= 0 else stats.seed,
            reasoning_tokens=min(thought, stats.completion_tokens),
            first_token_ms=(first - self.began) * 1000,
            queued_ms=stats.queued_ms + ((self.leased or time.monotonic()) - self.began) * 1000,
            context_limit=stats.context_limit or self.context,
        )

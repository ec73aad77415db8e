"""The one thread that computes. Prompts are read in pieces, and between two pieces every running reply gets a token.

All replies with the same adapters are computed in one call. A cancel is seen before each call, and while a prompt is
read before each layer: a reply stops within a token, a prompt within a layer.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from loaders.hf.cache import Line, SharedCache
from loaders.hf.cancellation import Asked, Stopped
from loaders.hf.forward import AnyCache, Forward, OwnCache
from loaders.hf.out_of_memory import explained, give_back, out_of_memory
from loaders.hf.prefix_cache import PrefixCache
from loaders.hf.sequence import Adapters, SequenceState
from loaders.hf.speculative import Speculator
from loaders.torch_sampling.chain import pick_rows
from loaders.torch_sampling.sampled_token import SampledToken
from modules.errors import EngineError
from modules.types import Progress

_PATIENCE = 10.0  # seconds a call of the model may take until the program ends without waiting for it


@dataclass(slots=True)
class Group:
    """The replies that have the same adapters and are past their prompt; `shared` is empty where caches are not."""

    adapters: Adapters
    rows: list[SequenceState] = field(default_factory=list)
    shared: SharedCache | None = None


class Scheduler:
    """Computes rows. `submit` and `close` may be called from any thread, all else runs on the scheduler's own.

    piece    tokens of a prompt computed in one call
    switch   makes the model use these adapters
    guesser  guesses tokens of a reply that runs alone, None without
    """

    def __init__(
        self, forward: Forward, prefixes: PrefixCache[Adapters], piece: int,
        switch: Callable[[Adapters], None], guesser: Speculator | None = None,
    ) -> None:  # fmt: skip
        self._forward = forward
        self._prefixes = prefixes
        self._piece = piece
        self._switch = switch
        self._guesser = guesser
        self._inbox: queue.SimpleQueue[SequenceState | None] = queue.SimpleQueue()
        self._reading: list[SequenceState] = []
        self._groups: dict[Adapters, Group] = {}
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, row: SequenceState) -> None:
        """Have a reply computed; it ends through `row.end` or `row.fail`, whatever happens."""
        self._inbox.put(row)

    def close(self) -> None:
        """End the thread; returns when its present call is over."""
        self._inbox.put(None)
        self._thread.join(_PATIENCE)

    # ── the thread ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        pieces = 0
        while self._admit():
            self._drop_cancelled()
            if self._reading:
                pieces += 1
                self._guarded(self._read, next_to_read(self._reading, pieces))
            for group in list(self._groups.values()):
                if group.rows:
                    self._guarded(self._step, group)
            self._groups = {key: group for key, group in self._groups.items() if group.rows}

    def _admit(self) -> bool:
        """Take new rows in; waits for one when there is nothing to do. False at the end."""
        idle = not self._reading and not any(group.rows for group in self._groups.values())
        while idle or not self._inbox.empty():
            row = self._inbox.get()
            if row is None:
                return False
            self._reading.append(row)
            idle = False
        return True

    def _drop_cancelled(self) -> None:
        for row in [row for row in self._reading if row.cancelled()]:
            self._reading.remove(row)
            self._keep(row)
            row.end("cancelled")
        for group in self._groups.values():
            self._guarded(self._drop_from, group)

    def _drop_from(self, group: Group) -> None:
        for row in [row for row in group.rows if row.cancelled()]:
            row.end("cancelled")  # before its line is taken out, which a card that failed refuses
            self._leave(group, row)

    def _guarded(self, work: Callable[[Any], None], what: SequenceState | Group) -> None:
        """Do it; what goes wrong ends these replies and no others."""
        try:
            work(what)
        except Exception as error:
            traceback.print_exc()
            rows = [what] if isinstance(what, SequenceState) else list(what.rows)
            if isinstance(what, Group):
                what.rows, what.shared = [], None
            self._reading = [row for row in self._reading if row not in rows]
            for row in rows:
                row.fail(explained(error))
            give_back()

    def _compute(
        self, cache: AnyCache, tokens: list[list[int]], keep: int = 1, more: Mapping[str, Any] | None = None,
        cancelled: Asked | None = None,
    ) -> Tensor:  # fmt: skip
        """Call the model. When memory is short, kept prompts are given up and it is tried once more."""
        try:
            return self._forward(cache, tokens, keep, more, cancelled)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or isinstance(cache, OwnCache) or not self._prefixes.clear():
                raise
            print("out of memory: kept prompts are given up, and it is tried again", file=sys.stderr)
        give_back()
        return self._forward(cache, tokens, keep, more, cancelled)

    # ── prompts ─────────────────────────────────────────────────────────────────────────────────────

    def _read(self, row: SequenceState) -> None:
        """Compute one piece of a prompt; the last one gives the reply's first token."""
        if not row.begun:
            self._begin(row)
        part = next(part for part in row.parts if part.left)
        if part.cache is None or part.line is None:
            raise EngineError("A prompt has no cache.")
        done = len(part.prompt) - part.left
        end, more = part.piece(done, self._piece)
        self._switch(row.adapters)
        try:
            part.logits = self._compute(part.cache, [part.prompt[done:end]], 1, more, row.cancelled)[0, -1]
        except Stopped:  # the row is taken out before anything else is computed
            if isinstance(part.cache, OwnCache):  # some of its layers know more than others
                part.cache = None
            return
        part.inputs = None
        self._tell(row)
        if not any(part.left for part in row.parts):
            self._reading.remove(row)
            self._enter(row)

    def _begin(self, row: SequenceState) -> None:
        row.begun = time.monotonic()
        row.say()
        for part in row.parts:
            part.cache = self._forward.cache()
            if not row.fresh and part is row.parts[0]:
                known = self._prefixes.take(row.adapters, part.prompt, row.images)
                if len(known.lines[0].tokens) >= part.pictured:
                    part.cache = known
            part.line = part.cache.lines[0]
            if part.line.tokens:
                part.inputs = None  # the pictures are in what is known
            part.line.images = row.images
        row.cached = len(row.parts[0].prompt) - row.parts[0].left
        self._tell(row)

    def _tell(self, row: SequenceState) -> None:
        total = sum(len(part.prompt) for part in row.parts)
        row.put(Progress("prompt", total - sum(part.left for part in row.parts), total, row.cached))

    def _enter(self, row: SequenceState) -> None:
        """The first token; then the reply goes on with the others of its group."""
        logits = [part.logits for part in row.parts if part.logits is not None]
        if not row.took(row.sampler.pick(guided(row, logits))):
            self._keep(row)
            return
        group = self._groups.setdefault(row.adapters, Group(row.adapters))
        try:
            for part in row.parts:
                if isinstance(part.cache, SharedCache):
                    group.shared = group.shared.join(part.cache) if group.shared else part.cache
                    part.cache = None
        except Exception as error:  # the others' buffers may have been moved half
            for other in group.rows:
                other.fail(explained(error))
            group.rows, group.shared = [], None
            raise
        group.rows.append(row)

    # ── replies ─────────────────────────────────────────────────────────────────────────────────────

    def _step(self, group: Group) -> None:
        """One token for each reply of a group, or more for one that is alone and guessed well."""
        self._switch(group.adapters)
        row = group.rows[0]
        if len(group.rows) == 1 and len(row.parts) == 1 and self._guesser is not None and self._guessed(group, row):
            return
        try:
            logits = self._logits(group)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or len(group.rows) == 1 or group.shared is None:
                raise
            newest = group.rows[-1]
            self._leave(group, newest, keep=False)
            newest.fail(explained(error))
            give_back()
            return
        for one, picked in self._picked(group, logits):
            if isinstance(picked, Exception):
                self._leave(group, one, keep=False)
                one.fail(explained(picked))
            elif not one.took(picked):
                self._leave(group, one)

    def _picked(self, group: Group, logits: Tensor) -> list[tuple[SequenceState, SampledToken | Exception]]:
        """A token for each reply; a sampler or grammar that fails is its own reply's fault."""
        samplers = [row.sampler for row in group.rows]
        if all(sampler.takes_the_likeliest for sampler in samplers):
            return list(zip(group.rows, pick_rows(samplers, logits), strict=True))
        out: list[tuple[SequenceState, SampledToken | Exception]] = []
        for row, own in zip(group.rows, logits, strict=True):
            try:
                out.append((row, row.sampler.pick(own)))
            except Exception as error:
                traceback.print_exc()
                out.append((row, error))
        return out

    def _logits(self, group: Group) -> Tensor:
        """The logits of every reply: [replies, vocabulary]."""
        if group.shared is None:
            return torch.stack([
                guided(row, [self._compute(part.cache, [[row.following]])[0, -1] for part in row.parts if part.cache])
                for row in group.rows
            ])  # fmt: skip
        owners = {id(part.line): row for row in group.rows for part in row.parts}
        lines = group.shared.lines
        logits = self._compute(group.shared, [[owners[id(line)].following] for line in lines])[:, -1]
        if len(lines) == len(group.rows) and all(
            line is row.parts[0].line for line, row in zip(lines, group.rows, strict=True)
        ):
            return logits
        places = {id(line): place for place, line in enumerate(lines)}
        return torch.stack([
            guided(row, [logits[places[id(part.line)]] for part in row.parts]) for row in group.rows
        ])  # fmt: skip

    def _guessed(self, group: Group, row: SequenceState) -> bool:
        """Have several tokens checked in one call; each is still drawn by the sampler, so the text is the same."""
        cache, guesser = group.shared, self._guesser
        most = row.limit - row.count - 1
        if cache is None or guesser is None or most < 1:
            return False
        line = cache.lines[0]
        guess = guesser.guess([*line.tokens, row.following], most, row.cancelled)
        if not guess:
            return False
        before = len(line.tokens)
        logits = self._compute(cache, [[row.following, *guess]], len(guess) + 1)[0]
        right = 0
        for place, one in enumerate(logits):
            if not row.took(row.sampler.pick(one)):
                break
            if place == len(guess) or row.following != guess[place]:
                break
            right += 1
        row.guessed += right
        guesser.learn(right, len(guess))
        cache.cut(before + 1 + right)
        if row.ended:
            self._leave(group, row)
        return True

    def _leave(self, group: Group, row: SequenceState, keep: bool = True) -> None:
        """A reply is over: what was computed for it is kept for the next turn."""
        group.rows.remove(row)
        if group.shared is not None:
            for part in row.parts:
                if part.line is not None and part is row.parts[0] and keep and self._prefixes.limit:
                    part.cache = self._taken_out(group.shared, part.line)
                elif part.line is not None:
                    group.shared.drop(part.line)
        if keep:
            self._keep(row)
        if not group.rows:
            group.shared = None

    def _taken_out(self, shared: SharedCache, line: Line) -> SharedCache | None:
        """A line with what was computed for it; None where there is no memory for that, and it is forgotten."""
        try:
            return shared.leave(line)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        shared.drop(line)
        return None

    def _keep(self, row: SequenceState) -> None:
        cache = row.parts[0].cache
        if cache is not None:
            self._prefixes.keep(row.adapters, cache)


def next_to_read(rows: list[SequenceState], number: int) -> SequenceState:
    """Whose prompt the piece of that number belongs to: the shortest rest, and every other time who waits longest, so
    that a stream of short prompts does not hold up a long one for ever. `rows` in the order they came."""
    return rows[0] if number % 2 == 0 else min(rows, key=lambda one: sum(part.left for part in one.parts))


def guided(row: SequenceState, logits: list[Tensor]) -> Tensor:
    """The logits of a reply: with guidance, moved away from those of the negative prompt."""
    if len(logits) == 1:
        return logits[0]
    wanted, unwanted = (torch.log_softmax(one.float(), -1) for one in logits)
    return unwanted + row.guidance * (wanted - unwanted)

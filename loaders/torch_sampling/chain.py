"""One request's sampler: from logits to a token."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from loaders.torch_sampling.candidates import NEVER, Candidates, best
from loaders.torch_sampling.grammar import Grammar
from loaders.torch_sampling.history import History
from loaders.torch_sampling.logprobs import logprob_of
from loaders.torch_sampling.sampled_token import SampledToken
from loaders.torch_sampling.selection import Plain, draw, no_numbers
from loaders.torch_sampling.settings import Settings
from loaders.torch_sampling.steps import build
from loaders.torch_sampling.vocabulary import Vocabulary
from modules.types import Notice, ParamValue


class Sampler:
    """Not shared between requests and not thread-safe.

    params      values by PARAMS name, checked (modules.sampling.params.check_values); a name left out is neutral
    prompt      the prompt's token ids: penalties and DRY look at them too
    seed        None or -1 = a random one; `seed` tells which
    grammar     the mask that the reply has to keep to, made for this request alone
    logprobs    None = off, n = the chosen token's logprob and those of the n likeliest
    device      where the logits will be

    `notices` says what of the parameters does not act, and why; a grammar may add to it while the reply runs.
    The random numbers come from the processor, so a seed means the same on every device.
    """

    def __init__(
        self,
        params: Mapping[str, ParamValue],
        vocabulary: Vocabulary,
        prompt: Sequence[int],
        *,
        seed: int | None,
        grammar: Grammar | None = None,
        logprobs: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        settings = Settings.of(params)
        self.seed = seed if seed is not None and seed >= 0 else secrets.randbelow(2**31)
        self._random = torch.Generator().manual_seed(self.seed)
        self._vocabulary, self._grammar, self._logprobs = vocabulary, grammar, logprobs
        self._history = History(prompt)
        self._chain = build(settings, vocabulary, self._history, prompt, self._chance)
        self.notices: tuple[Notice, ...] = self._chain.notices
        self._read_bias(settings, device)

    def pick(self, logits: Tensor) -> SampledToken:
        """The next token. `logits`: one row, [vocabulary], any float type; it is left as it is.

        Raises EngineError when the model computed no numbers or the grammar cannot be followed further.
        """
        raw = self._row(logits)
        return self._taken(self._choose(raw), raw)

    def candidates(self, logits: Tensor) -> tuple[list[int], list[float]]:
        """What `pick` would choose from: tokens and their final probabilities, likeliest first. Changes nothing."""
        state = self._random.get_state()
        c = self._narrowed(self._row(logits))
        weights = self._chain.chooser.weights(c)
        self._random.set_state(state)
        order = weights.sort(descending=True, stable=True)
        amount = int((order.values > 0).sum())
        if self._chain.greedy:
            return [c.token(best(c.logits))], [1.0]
        return [c.token(place) for place in order.indices[:amount].tolist()], order.values[:amount].tolist()

    @property
    def takes_the_likeliest(self) -> bool:
        """Whether a token is simply the largest logit, so that a batch of rows can be asked at once."""
        return self._chain.greedy and not self._chain.steps and not self._has_bias and self._grammar is None

    def take(self, token: int, logits: Tensor) -> SampledToken:
        """What `pick` gives for a row when this token was chosen elsewhere: for a whole batch, or in another engine."""
        raw = self._row(logits)
        if not isinstance(self._chain.chooser, Plain):
            c = self._narrowed(raw)
            self._chain.chooser.weights(c)
            at, _ = c.find(torch.tensor([token]), self._vocabulary.size)
            if len(at):
                self._chain.chooser.chose(int(at[0]))
        return self._taken(token, raw)

    def _choose(self, raw: Tensor) -> int:
        if self.takes_the_likeliest:
            return best(raw)
        c = self._narrowed(raw)
        if self._chain.greedy:
            return c.token(best(c.logits))
        place = draw(self._chain.chooser.weights(c), self._chance())
        self._chain.chooser.chose(place)
        return c.token(place)

    def _narrowed(self, raw: Tensor) -> Candidates:
        """After the mask, the bias and every sampler."""
        c = Candidates(raw)
        if self._grammar is not None:
            c.allow(torch.from_numpy(self._grammar.allowed(len(raw))).to(raw.device))
        if self._has_bias:
            self._apply_bias(c)
        for step in self._chain.steps:
            step(c)
        return c

    def _taken(self, token: int, raw: Tensor) -> SampledToken:
        """Remember a token, and say what it is."""
        if not math.isfinite(float(raw[token])):
            raise no_numbers()
        self._history.append(token)
        for sampler in self._chain.remembering:
            sampler.accept(token)
        ends = token in self._vocabulary.eos
        if self._grammar is not None:
            self._grammar.accept(token)
        ended = ends or (self._grammar is not None and self._grammar.complete)
        logprob = None if self._logprobs is None else logprob_of(token, raw, self._logprobs, self._vocabulary)
        return SampledToken(token, logprob, ended, ends)

    def _read_bias(self, settings: Settings, device: str | torch.device) -> None:
        bias = dict(settings.bias)
        unknown = sorted(token for token in bias if token >= self._vocabulary.size)
        if unknown:
            said = f"logit_bias names tokens this model does not have: {', '.join(map(str, unknown[:10]))}."
            self.notices = (*self.notices, Notice("sampler_ignored", said, param="logit_bias"))
        if settings.flag("ban_eos_token"):
            bias |= dict.fromkeys(self._vocabulary.eos, NEVER)
        known = {token: amount for token, amount in bias.items() if token < self._vocabulary.size and amount}
        forbidden = [token for token, amount in known.items() if amount == NEVER]
        moved = {token: amount for token, amount in known.items() if amount != NEVER}
        self._has_bias = bool(known)
        self._forbidden = torch.tensor(forbidden, dtype=torch.int64, device=device)
        self._moved = torch.tensor(list(moved), dtype=torch.int64, device=device)
        self._amounts = torch.tensor(list(moved.values()), dtype=torch.float32, device=device)

    def _apply_bias(self, c: Candidates) -> None:
        size = self._vocabulary.size
        if len(self._moved):
            at, which = c.find(self._moved, size)
            c.change(at, c.logits[at] + self._amounts.to(at.device)[which])
        if len(self._forbidden) and not c.forbid(c.find(self._forbidden, size)[0]):
            said = "The grammar allowed nothing but tokens that logit_bias or ban_eos_token forbid; it went first."
            notice = Notice("sampler_ignored", said, param="logit_bias")
            if notice not in self.notices:
                self.notices = (*self.notices, notice)

    def _row(self, logits: Tensor) -> Tensor:
        """As float32, without what a model may have beyond its vocabulary.

        On the processor, unless it is a CUDA card: the others lack 64-bit floats or much else that is needed here.
        """
        row = logits.detach()[: self._vocabulary.size]
        row = row if row.device.type in ("cpu", "cuda") else row.cpu()
        return row if row.dtype == torch.float32 else row.float()

    def _chance(self) -> float:
        return float(torch.rand((), generator=self._random, dtype=torch.float64))


def pick_rows(samplers: Sequence[Sampler], logits: Tensor) -> list[SampledToken]:
    """One token for each of several requests. `logits`: [requests, vocabulary], a row for each sampler.

    Raises as `pick` does, for the first row that fails; the other requests' samplers are then not in step any more,
    so a caller that wants to go on without that request calls `pick` for each.
    """
    simple = [number for number, sampler in enumerate(samplers) if sampler.takes_the_likeliest]
    if not logits.is_cuda or len(simple) < 2:
        return [sampler.pick(row) for sampler, row in zip(samplers, logits, strict=True)]
    tokens = dict(zip(simple, logits[simple].argmax(-1).tolist(), strict=True))
    return [
        sampler.take(tokens[number], row) if number in tokens else sampler.pick(row)
        for number, (sampler, row) in enumerate(zip(samplers, logits, strict=True))
    ]

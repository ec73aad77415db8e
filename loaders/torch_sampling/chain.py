"""One request's sampler: from logits to a token."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loaders.torch_sampling.picked import Picked
from loaders.torch_sampling.vocabulary import Vocabulary
from modules.types import Notice, ParamValue

if TYPE_CHECKING:
    from loaders.torch_sampling.grammar import Grammar


class Sampler:
    """Not shared between requests and not thread-safe.

    params      values by PARAMS name, checked (modules.params.check_values); a name left out is neutral
    prompt      the prompt's token ids: penalties and DRY look at them too
    seed        None or -1 = a random one; `seed` tells which
    grammar     the mask that the reply has to keep to, made for this request alone
    logprobs    None = off, n = the chosen token's logprob and those of the n likeliest
    device      where the logits will be

    `notices` says what of the parameters does not act, and why.
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
        self.seed = seed if seed is not None and seed >= 0 else secrets.randbelow(2**31)
        self.notices: tuple[Notice, ...] = ()
        self._random = torch.Generator().manual_seed(self.seed)
        self._params, self._vocabulary = params, vocabulary

    def pick(self, logits: Tensor) -> Picked:
        """The next token. `logits`: one row, [vocabulary], any float type; it is left as it is."""
        temperature = self._params.get("temperature", 1.0)
        if not isinstance(temperature, (int, float)) or temperature <= 0:
            token = int(logits.argmax())
        else:
            sums = torch.softmax(logits.float() / temperature, 0).cumsum(0)
            chance = torch.rand((), generator=self._random, dtype=torch.float64).item() * float(sums[-1])
            token = min(int(torch.searchsorted(sums, chance, right=True)), len(logits) - 1)
        ended = token in self._vocabulary.eos
        return Picked(token, None, ended, ended)


def pick_rows(samplers: Sequence[Sampler], logits: Tensor) -> list[Picked]:
    """One token for each of several requests. `logits`: [requests, vocabulary], a row for each sampler."""
    return [sampler.pick(row) for sampler, row in zip(samplers, logits, strict=True)]

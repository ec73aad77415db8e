"""What a step of sampling gives."""

from __future__ import annotations

from dataclasses import dataclass

from modules.types import TokenLogprob


@dataclass(frozen=True, slots=True)
class SampledToken:
    """One token.

    logprob    of the model's own distribution, before any sampler; None when not asked for
    ended      the reply is over after this token
    end_token  the token is one that ends replies and no part of the text (then `ended` is true too); a reply that
               its grammar ends has a last token that is text
    """

    token: int
    logprob: TokenLogprob | None
    ended: bool
    end_token: bool

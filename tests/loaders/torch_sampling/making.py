"""A small vocabulary and samplers over it. Importing this skips the tests where PyTorch is not installed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

REASON = "is not installed (python3 start.py install transformers)"
torch = pytest.importorskip("torch", reason=f"PyTorch {REASON}")
pytest.importorskip("llguidance", reason=f"llguidance {REASON}")

from loaders.torch_sampling.chain import Sampler  # noqa: E402
from loaders.torch_sampling.vocabulary import Vocabulary  # noqa: E402
from modules.sampling.params import check_values  # noqa: E402

HALVES = (0.5, 0.25, 0.125, 0.0625, 0.0625)


def logits(*probabilities: float) -> Any:
    """Logits whose softmax is exactly that."""
    return torch.tensor([math.log(one) if one else -math.inf for one in probabilities])


def vocabulary(size: int = 5, eos: Sequence[int] = (), pieces: Sequence[bytes] = ()) -> Vocabulary:
    words = list(pieces) or [f" w{token}".encode() for token in range(size)]
    return Vocabulary(len(words), frozenset(eos), words.__getitem__)


def sampler(params: Mapping[str, Any], size: int = 5, prompt: Sequence[int] = (), **more: Any) -> Sampler:
    """A sampler for values as a person writes them."""
    known = more.pop("vocabulary", None) or vocabulary(size)
    return Sampler(check_values(params), known, prompt, **{"seed": 1, **more})


def kept(params: Mapping[str, Any], row: Any, prompt: Sequence[int] = (), **more: Any) -> dict[int, float]:
    """Token → final probability."""
    found = sampler(params, len(row), prompt, **more).candidates(row)
    return dict(zip(*found, strict=True))

"""Temperatures and smoothing, by examples computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.loaders.torch_sampling.making import HALVES, kept, logits, torch


def shares(*weights: float) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def test_a_temperature_takes_the_root_of_the_probabilities() -> None:
    got = kept({"temperature": 2.0}, logits(0.64, 0.36))
    assert [got[0], got[1]] == pytest.approx(shares(0.8, 0.6))


def test_temperature_zero_takes_the_likeliest_after_the_penalties() -> None:
    row = logits(0.4, 0.35, 0.25)
    assert kept({"temperature": 0.0}, row) == {0: 1.0}
    assert kept({"temperature": 0.0, "presence_penalty": 1.0}, row, prompt=[0]) == {1: 1.0}


def test_temperature_zero_takes_what_an_earlier_sampler_leaves() -> None:
    """As in llama.cpp: XTC and typical-p may leave out the likeliest."""
    row = logits(*HALVES)
    xtc = {"xtc_probability": 1.0, "xtc_threshold": 0.2}
    assert kept({"temperature": 0.0, **xtc}, row) == {1: 1.0}
    assert kept({"temperature": 0.0, **xtc, "sampler_priority": ["temperature", "xtc"]}, row) == {0: 1.0}
    assert kept({"temperature": 0.0, "typical_p": 0.2}, row) == {1: 1.0}


def test_the_dynamic_temperature_is_low_where_the_model_is_sure_and_high_where_not() -> None:
    dynamic = {"dynamic_temperature": True, "dynatemp_low": 0.5, "dynatemp_high": 2.0}
    unsure = kept({**dynamic, "dynatemp_exponent": 1.0}, logits(0.5, 0.5))
    assert [unsure[0], unsure[1]] == pytest.approx([0.5, 0.5])
    # entropy of (0.9, 0.1) is 0.46900 of the largest possible: 0.5 + 1.5 · 0.469 = 1.2035
    some = kept(dynamic, logits(0.9, 0.1))
    assert some[0] == pytest.approx(shares(0.9 ** (1 / 1.2035), 0.1 ** (1 / 1.2035))[0], rel=1e-4)
    # with exponent 2: 0.5 + 1.5 · 0.21996 = 0.82994
    some = kept({**dynamic, "dynatemp_exponent": 2.0}, logits(0.9, 0.1))
    assert some[0] == pytest.approx(shares(0.9 ** (1 / 0.82994), 0.1 ** (1 / 0.82994))[0], rel=1e-4)


def test_the_dynamic_temperature_takes_the_place_of_the_fixed_one() -> None:
    dynamic = {"dynamic_temperature": True, "dynatemp_low": 1.0, "dynatemp_high": 1.0, "temperature": 0.1}
    got = kept(dynamic, logits(0.75, 0.25))
    assert got[0] == pytest.approx(0.75)


def test_low_and_high_may_come_in_either_order() -> None:
    one = {"dynamic_temperature": True, "dynatemp_low": 0.2, "dynatemp_high": 1.4}
    other = {"dynamic_temperature": True, "dynatemp_low": 1.4, "dynatemp_high": 0.2}
    assert kept(one, logits(*HALVES)) == kept(other, logits(*HALVES))


@pytest.mark.parametrize(
    ("factor", "curve", "lost"),
    [
        (0.5, 1.0, [0.0, 0.5, 4.5]),  # f·d² at distances 0, 1, 3
        (0.5, 2.0, [0.0, 0.5, 9.0]),  # k = 0.25, s = 0.25: 0.25·d² + 0.25·d³
    ],
)
def test_smoothing_lowers_by_its_curve(factor: float, curve: float, lost: list[float]) -> None:
    got = kept({"smoothing_factor": factor, "smoothing_curve": curve}, torch.tensor([5.0, 4.0, 2.0]))
    assert [got[token] for token in range(3)] == pytest.approx(shares(*(math.exp(-one) for one in lost)), rel=1e-5)


def test_smoothing_leaves_what_is_forbidden_forbidden() -> None:
    params: dict[str, Any] = {"smoothing_factor": 0.5, "logit_bias": {"0": -100}}
    got = kept(params, torch.tensor([5.0, 4.0, 2.0]))
    assert sorted(got) == [1, 2]
    assert sum(got.values()) == pytest.approx(1)

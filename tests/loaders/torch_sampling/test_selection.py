"""Which candidate is taken: by chance, mirostat, adaptive-p."""

from __future__ import annotations

import math

import pytest

from modules.errors import EngineError
from tests.loaders.torch_sampling.making import HALVES, kept, logits, sampler, torch

WIDE = logits(*HALVES)


def test_tokens_come_as_often_as_they_are_likely() -> None:
    one = sampler({})
    picked = [one.pick(WIDE).token for _ in range(4000)]
    for token, probability in enumerate(HALVES):
        assert picked.count(token) / 4000 == pytest.approx(probability, abs=0.03)


def test_mirostat_2_keeps_what_surprises_less_than_its_limit() -> None:
    """The limit starts at twice the target, in bits; the tokens have 1, 2, 3, 4 and 4."""
    for target, amount in ((0.1, 1), (0.5, 1), (1.0, 2), (1.5, 3), (2.0, 5)):
        assert len(kept({"mirostat_mode": "2", "mirostat_tau": target}, WIDE)) == amount


def test_mirostat_2_moves_its_limit_by_what_was_chosen() -> None:
    one = sampler({"mirostat_mode": "2", "mirostat_tau": 1.5, "mirostat_eta": 1.0})
    one.take(0, WIDE)  # of 4/7, 2/7, 1/7: surprise 0.807 bits, so the limit goes from 3 to 3 - (0.807 - 1.5) = 3.693
    assert len(one.candidates(WIDE)[0]) == 3
    one.take(0, WIDE)
    assert len(one.candidates(WIDE)[0]) == 5  # 4.386


def test_mirostat_1_estimates_how_many_candidates_have_that_surprise() -> None:
    """Zipf's law with exponent 1.5 over 1,000 tokens: the formula of the paper."""
    row = -1.5 * torch.arange(1, 1001, dtype=torch.float32).log()
    for target in (1.0, 2.0, 3.0):
        amount = (0.5 * 2 ** (2 * target) / (1 - 1000**-0.5)) ** (1 / 1.5)
        assert len(kept({"mirostat_mode": "1", "mirostat_tau": target}, row)) == max(1, int(amount))


@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0, 0.0], [9.0, -math.inf, -math.inf], [1.0]])
@pytest.mark.parametrize("mode", ["1", "2"])
def test_mirostat_takes_odd_distributions(mode: str, row: list[float]) -> None:
    one = sampler({"mirostat_mode": mode}, len(row))
    for _ in range(20):
        assert math.isfinite(row[one.pick(torch.tensor(row)).token])


def test_mirostat_takes_the_place_of_the_others_and_says_so() -> None:
    params = {"mirostat_mode": "2", "mirostat_tau": 2.0, "top_k": 1, "presence_penalty": 1.0, "adaptive_target": 0.5}
    one = sampler(params, prompt=[0])
    assert len(one.candidates(WIDE)[0]) == 5
    assert [notice.code for notice in one.notices] == ["sampler_ignored"]
    assert "penalties, top_k, adaptive_p did not act" in one.notices[0].message
    assert sampler({"mirostat_mode": "2"}).notices == ()


def test_mirostat_minds_temperature_and_bias() -> None:
    cold = kept({"mirostat_mode": "2", "temperature": 0.5, "logit_bias": {"0": -100}}, logits(0.4, 0.3, 0.3))
    assert cold == pytest.approx({1: 0.5, 2: 0.5})


def hill(probability: float, aim: float) -> float:
    distance = abs(probability - aim) / 0.3
    return math.exp(5 - 10 * distance**2 / (1 + distance))


def test_adaptive_p_prefers_the_probability_it_aims_at() -> None:
    got = kept({"adaptive_target": 0.25}, WIDE)
    weights = [hill(probability, 0.25) for probability in HALVES]
    assert [got[token] for token in range(5)] == pytest.approx([one / sum(weights) for one in weights], rel=1e-4)
    assert max(got, key=got.__getitem__) == 1


def test_adaptive_p_aims_lower_after_a_likely_token() -> None:
    one = sampler({"adaptive_target": 0.25, "adaptive_decay": 0.5})
    one.take(0, WIDE)
    # it remembers 2 tokens of 0.25 each at first: (0.5 + 0.5 · 0.5) / (1 + 0.5 · 2) = 0.375, so 2 · 0.25 - 0.375
    weights = [hill(probability, 0.125) for probability in HALVES]
    got = dict(zip(*one.candidates(WIDE), strict=True))
    assert [got[token] for token in range(5)] == pytest.approx([one / sum(weights) for one in weights], rel=1e-4)


def test_adaptive_p_leaves_out_what_is_left_out() -> None:
    assert sorted(kept({"adaptive_target": 0.05, "top_k": 2, "logit_bias": {"1": -100}}, WIDE)) == [0, 2]


def test_scores_that_are_no_numbers_are_an_error_and_no_token() -> None:
    for params in ({}, {"temperature": 0.0}, {"top_k": 2}, {"min_p": 0.1}, {"mirostat_mode": "2"}, {"top_p": 0.5}):
        for bad in (math.nan, math.inf):
            with pytest.raises(EngineError, match="no numbers"):
                sampler(params).pick(torch.full((5,), bad))

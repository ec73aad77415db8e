"""Each sampler that leaves candidates out, by an example computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.loaders.torch_sampling.making import HALVES, kept, logits, sampler, torch

WIDE = logits(*HALVES)


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.75}, [0, 1]),  # exactly reached: enough
        ({"top_p": 0.76}, [0, 1, 2]),
        ({"top_p": 0.0}, [0]),
        ({"min_p": 0.24}, [0, 1, 2]),  # 0.125 of the likeliest is 0.0625
        ({"min_p": 0.26}, [0, 1]),
        ({"min_p": 1.0}, [0]),
        # entropy 1.875 bits; information 1, 2, 3, 4, 4 bits, so token 1 is nearest, then token 0, then 2
        ({"typical_p": 0.2}, [1]),
        ({"typical_p": 0.3}, [0, 1]),
        ({"typical_p": 0.8}, [0, 1, 2]),
        # floors: 0.1 and 0.2 of 1/10,000 are far away, so larger ones than the control offers
        ({"epsilon_cutoff": 700}, [0, 1, 2]),
        ({"epsilon_cutoff": 9000}, [0]),
        # eta: min(0.2, √0.2 · e^-1.2997) = 0.1219
        ({"eta_cutoff": 2000}, [0, 1, 2]),
        ({"eta_cutoff": 2200}, [0, 1]),  # √0.22 · e^-1.2997 = 0.1279
        ({"top_a": 0.4}, [0, 1, 2]),  # 0.4 · 0.25 = 0.1
        ({"top_a": 1.0}, [0, 1]),  # 0.25: an equal one stays
        # differences .25 .125 .0625 0, their differences .125 .0625 .0625 of .25: sums .5 .75 1
        ({"tfs": 0.4}, [0]),
        ({"tfs": 0.6}, [0, 1]),
        ({"tfs": 0.8}, [0, 1, 2]),
        # XTC leaves the least likely of those at least as likely as the threshold
        ({"xtc_probability": 1.0, "xtc_threshold": 0.1}, [2, 3, 4]),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.25}, [1, 2, 3, 4]),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.3}, [0, 1, 2, 3, 4]),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.1, "top_k": 3}, [2]),
        # logits 4 2 0: mean 2, deviation √(8/3) = 1.633
        ({"top_n_sigma": 1.2}, None),
    ],
)  # fmt: skip
def test_a_cut_keeps_what_its_rule_says(params: dict[str, Any], tokens: list[int] | None) -> None:
    row, wanted = (torch.tensor([4.0, 0.0, 2.0]), [0]) if tokens is None else (WIDE, tokens)
    got = kept(params, row)
    assert sorted(got) == wanted
    total = sum(row[token].exp().item() for token in got)
    for token, probability in got.items():
        assert probability == pytest.approx(row[token].exp().item() / total, rel=1e-5)


def test_top_n_sigma_leaves_the_second_where_the_deviation_reaches_it() -> None:
    assert sorted(kept({"top_n_sigma": 1.3}, torch.tensor([4.0, 0.0, 2.0]))) == [0, 2]


def test_top_n_sigma_does_not_count_forbidden_tokens() -> None:
    row = torch.tensor([4.0, 0.0, 2.0, 900.0])
    assert sorted(kept({"top_n_sigma": 1.3, "logit_bias": {"3": -100}}, row)) == [0, 2]
    assert sorted(kept({"top_n_sigma": 1.1, "logit_bias": {"3": -100}}, row)) == [0]


def test_xtc_acts_as_often_as_it_is_told() -> None:
    one = sampler({"xtc_probability": 0.3, "xtc_threshold": 0.2, "top_k": 2})
    picked = [one.pick(WIDE).token for _ in range(3000)]
    assert picked.count(0) / 3000 == pytest.approx(0.7 * 2 / 3, abs=0.04)  # else the second alone is left


@pytest.mark.parametrize("params", [{"top_p": 0.9}, {"typical_p": 0.7}, {"tfs": 0.95}, {"tfs": 0.9999}, {"top_p": 0.5}])
def test_a_cut_of_a_large_vocabulary_is_that_of_a_full_sort(params: dict[str, Any]) -> None:
    """The shortcuts that avoid sorting change nothing."""
    row = torch.randn(60_000, generator=torch.Generator().manual_seed(3)) * 2
    order = row.argsort(descending=True)
    for temperature in (0.4, 1.0, 2.5):
        scaled = row / temperature
        short = kept(params, scaled)
        sorted_ = kept({"top_k": 60_000, **params, "sampler_priority": ["top_k"]}, scaled[order])
        assert {int(order[token]) for token in sorted_} == set(short)
        assert sum(short.values()) == pytest.approx(1, abs=1e-4)


def test_tokens_whose_score_is_equal_at_the_edge_are_not_all_lost() -> None:
    assert len(kept({"top_k": 2}, torch.zeros(6))) == 2
    assert len(kept({"top_p": 0.5}, torch.zeros(6))) == 3
    assert len(kept({"min_p": 1.0}, torch.zeros(6))) == 6
    assert kept({"tfs": 0.5}, torch.zeros(6)).keys() == set(range(6))


def test_a_sum_that_is_reached_exactly_is_enough_for_top_p_and_not_for_typical_p() -> None:
    """As in llama.cpp: at least p, and more than p."""
    assert len(kept({"top_p": 0.5}, torch.zeros(4))) == 2
    assert len(kept({"top_k": 4, "top_p": 0.5, "sampler_priority": ["top_k"]}, torch.zeros(5))) == 2
    assert len(kept({"typical_p": 0.5}, torch.zeros(4))) == 3


@pytest.mark.parametrize("name", ["top_p", "typical_p", "tfs"])
def test_a_single_candidate_stays(name: str) -> None:
    assert kept({"top_k": 1, name: 0.01}, WIDE) == {0: 1.0}


def test_information_is_measured_in_the_same_unit_as_the_entropy() -> None:
    """Uniform: every token is as typical as can be."""
    assert len(kept({"typical_p": 0.99}, torch.zeros(10))) == 10
    assert math.isclose(sum(kept({"typical_p": 0.5}, torch.zeros(10)).values()), 1, rel_tol=1e-5)

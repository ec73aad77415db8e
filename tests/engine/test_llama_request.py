"""Our parameters in llama-server's words."""

from __future__ import annotations

import pytest

from modules.engine.llama_request import completion_body, sampler_order
from modules.errors import BadParameter, BadRequest
from modules.params import LLAMA, PARAMS, dialect
from tests.engine.making import ask


def body(**params: object) -> dict[str, object]:
    return completion_body(ask(params=params))


def test_neutral_values_are_sent_because_the_engines_own_defaults_are_not_neutral() -> None:
    sent = body()
    assert (sent["temperature"], sent["top_k"], sent["top_p"], sent["min_p"]) == (1.0, 0, 1.0, 0.0)
    assert (sent["repeat_penalty"], sent["repeat_last_n"], sent["adaptive_target"]) == (1.0, 1024, -1.0)
    assert sent["n_predict"] == -1
    assert sent["stream"] is True


def test_every_parameter_of_the_dialect_is_sent() -> None:
    missing = set(dialect(LLAMA).values()) - set(body())
    assert missing == {"dynatemp_range"} - set(body())
    assert len(PARAMS) >= len(dialect(LLAMA))


def test_a_random_seed_is_drawn_here_and_a_given_one_kept() -> None:
    assert body(seed=7)["seed"] == 7
    drawn = {body()["seed"] for _ in range(5)}
    assert len(drawn) > 1
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 for seed in drawn)


def test_a_given_seed_computes_the_prompt_anew_so_that_rounding_is_the_same() -> None:
    assert body()["cache_prompt"] is True
    assert body(seed=7)["cache_prompt"] is False


def test_low_and_high_become_middle_and_range() -> None:
    sent = body(dynamic_temperature=True, dynatemp_low=0.5, dynatemp_high=1.5, temperature=3.0)
    assert (sent["temperature"], sent["dynatemp_range"]) == (1.0, 0.5)
    turned = body(dynamic_temperature=True, dynatemp_low=1.5, dynatemp_high=0.5)
    assert turned["dynatemp_range"] == 0.5
    assert body(dynatemp_low=0.5)["dynatemp_range"] == 0.0


def test_the_order_of_samplers_is_translated_and_none_is_left_out() -> None:
    order = sampler_order(["temperature", "top_p", "presence_penalty", "repetition_penalty", "typical_p", "quadratic"])
    assert order[:4] == ["temperature", "top_p", "penalties", "typ_p"]
    assert sorted(order) == sorted(set(order))
    assert {"dry", "top_k", "min_p", "xtc", "top_n_sigma"} <= set(order)


def test_adaptive_p_comes_last_and_only_when_it_is_used() -> None:
    assert "adaptive_p" not in body()["samplers"]  # type: ignore[operator]
    assert body(adaptive_target=0.5)["samplers"][-1] == "adaptive_p"  # type: ignore[index]


def test_a_bias_of_minus_100_forbids_the_token() -> None:
    assert body(logit_bias={"5": -100.0, "6": 2.0})["logit_bias"] == [[5, False], [6, 2.0]]


def test_dry_looks_as_far_back_as_the_other_penalties() -> None:
    assert body(repetition_penalty_range=77)["dry_penalty_last_n"] == 77


@pytest.mark.parametrize("prompt", ["", (), None])
def test_an_empty_prompt_is_refused(prompt: object) -> None:
    with pytest.raises(BadRequest):
        completion_body(ask(prompt))  # type: ignore[arg-type]


def test_a_grammar_and_a_schema_together_are_refused() -> None:
    with pytest.raises(BadParameter):
        completion_body(ask(grammar="root ::= x", json_schema={}))


def test_logprobs_ask_for_at_least_the_chosen_token() -> None:
    assert "n_probs" not in completion_body(ask())
    assert completion_body(ask(logprobs=0))["n_probs"] == 1
    assert completion_body(ask(logprobs=5))["n_probs"] == 5

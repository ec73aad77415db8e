"""Our parameters in llama-server's words."""

from __future__ import annotations

import pytest

from loaders.text.media_mark import MEDIA_MARK
from modules.drivers.llama_request import Prompting, completion_body, sampler_order
from modules.errors import BadParameter, BadRequest
from modules.sampling.params import BY_NAME, LLAMA, PARAMS, dialect
from tests.engine.making import ask
from tests.loaders.conformance import odd


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


def test_the_whole_context_is_a_number_and_no_breakers_are_one_that_never_comes() -> None:
    sent = completion_body(ask(params={"repetition_penalty_range": -1}), Prompting(context=768))
    assert (sent["repeat_last_n"], sent["dry_penalty_last_n"]) == (768, 768)
    assert body(repetition_penalty_range=0)["repeat_last_n"] == 0
    (nowhere,) = body(dry_sequence_breakers=[])["dry_sequence_breakers"]
    assert nowhere.strip()
    assert body(dry_sequence_breakers=["x"])["dry_sequence_breakers"] == ["x"]


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


@pytest.mark.parametrize("name", sorted(dialect(LLAMA)))
def test_every_parameter_changes_what_is_sent(name: str) -> None:
    beside = {"seed": 1, **({"dynamic_temperature": True, "dynatemp_high": 2.0} if name.startswith("dyna") else {})}
    beside.pop(name, None)
    assert body(**beside, **{name: odd(name)}) != body(**beside, **{name: BY_NAME[name].default})


def test_all_adapters_are_sent_with_every_request_because_one_that_is_left_out_stays_as_it_was() -> None:
    loaded = Prompting((("a", 1.0), ("b", 0.0)))
    sent = completion_body(ask(), loaded)
    assert sent["lora"] == [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}]
    assert [one["scale"] for one in completion_body(ask(lora={}), loaded)["lora"]] == [0.0, 0.0]
    assert [one["scale"] for one in completion_body(ask(lora={"b": 2}), loaded)["lora"]] == [0.0, 2.0]
    assert "lora" not in completion_body(ask(lora={}))
    with pytest.raises(BadParameter, match="loaded: none"):
        completion_body(ask(lora={"b": 1.0}))


def test_where_a_cache_may_hold_another_mix_of_adapters_nothing_is_taken_from_it() -> None:
    assert completion_body(ask(), Prompting((("a", 1.0),), reuse=False))["cache_prompt"] is False


def test_the_servers_own_mark_stands_where_the_image_goes_and_nowhere_else() -> None:
    request = ask("One  two <mark 7>", images=("aGk=",), image_places=(4,))
    assert completion_body(request, Prompting(mark="<mark 7>"))["prompt"] == {
        "prompt_string": "One <mark 7> two <\u200bmark 7>", "multimodal_data": ["aGk="],
    }  # fmt: skip
    assert completion_body(ask(f"One {MEDIA_MARK}"))["prompt"] == f"One {MEDIA_MARK}"
    with pytest.raises(BadRequest, match="for 0 images, but 1"):
        completion_body(ask("None", images=("aGk=",)))

"""Penalties, the prompt's words and n-grams."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loaders.torch_sampling.making import kept, sampler, torch

from loaders.torch_sampling.history import Counts, History  # isort: skip

ROW = torch.tensor([2.0, -2.0, 1.0, 0.0])


def change(params: dict[str, object], prompt: list[int]) -> list[float]:
    """What a sampler does to the logits, seen from token 3, which no prompt here holds."""
    got = kept(params, ROW, prompt)
    return [round(float(torch.tensor(got[token] / got[3]).log()), 4) for token in range(3)]


def test_the_repetition_penalty_divides_what_is_above_zero_and_multiplies_what_is_below() -> None:
    assert change({"repetition_penalty": 2.0}, [0, 1, 1]) == [1.0, -4.0, 1.0]


def test_frequency_counts_and_presence_does_not() -> None:
    assert change({"frequency_penalty": 0.5}, [0, 1, 1]) == [1.5, -3.0, 1.0]
    assert change({"presence_penalty": 0.5}, [0, 1, 1]) == [1.5, -2.5, 1.0]
    assert change({"presence_penalty": 0.5, "repetition_penalty": 2.0}, [0, 1, 1]) == [0.5, -4.5, 1.0]


def test_the_range_is_that_of_the_last_tokens_of_prompt_and_reply() -> None:
    params = {"presence_penalty": 1.0, "repetition_penalty_range": 2}
    assert change(params, [0, 1, 2]) == [2.0, -3.0, 0.0]
    one = sampler(params, prompt=[0, 1])
    one.take(2, ROW)
    got = dict(zip(*one.candidates(ROW), strict=True))
    assert got[0] / got[3] == pytest.approx(2.718281828**2, rel=1e-4)  # 0 is out of range now
    assert got[2] / got[3] == pytest.approx(1.0, rel=1e-4)


def test_a_range_of_0_looks_at_nothing_and_says_so() -> None:
    one = sampler({"repetition_penalty": 2.0, "dry_multiplier": 1.0, "repetition_penalty_range": 0}, prompt=[0, 1])
    assert dict(zip(*one.candidates(ROW), strict=True)) == kept({}, ROW)
    assert [(notice.code, notice.param) for notice in one.notices] == [("sampler_ignored", "repetition_penalty_range")]
    assert "repetition_penalty, dry_multiplier" in one.notices[0].message


def test_a_range_of_minus_1_looks_at_everything() -> None:
    prompt = [0, *[1] * 5000]
    assert change({"presence_penalty": 1.0, "repetition_penalty_range": -1}, prompt) == [1.0, -3.0, 1.0]
    assert change({"presence_penalty": 1.0}, prompt) == [2.0, -3.0, 1.0]  # 1,024 by itself


@given(
    st.lists(st.integers(0, 5), max_size=40), st.lists(st.integers(0, 5), max_size=600), st.sampled_from([-1, 1, 7, 30])
)
def test_counts_that_are_kept_up_to_date_are_those_counted_anew(
    prompt: list[int], reply: list[int], amount: int
) -> None:
    history = History(prompt)
    counts = Counts(history, amount)
    for token in reply:
        history.append(token)
        counts.append(token)
    ids, numbers = counts.tensors()
    text = [*prompt, *reply]
    assert dict(zip(ids.tolist(), numbers.tolist(), strict=True)) == Counter(text[-amount:] if amount > 0 else text)


def test_the_prompt_penalty_makes_the_prompts_tokens_likelier() -> None:
    assert change({"encoder_repetition_penalty": 2.0}, [0, 1]) == [4.0, -1.0, 1.0]


def test_the_prompt_penalty_does_not_follow_the_reply() -> None:
    one = sampler({"encoder_repetition_penalty": 2.0}, prompt=[0])
    one.take(2, ROW)
    got = dict(zip(*one.candidates(ROW), strict=True))
    assert got[2] / got[3] == pytest.approx(2.718281828, rel=1e-4)


@pytest.mark.parametrize(
    ("size", "prompt", "banned"),
    [
        (1, [0, 1], {0, 1}),
        (2, [0, 1, 2, 0], {1}),
        (3, [0, 1, 2, 0, 1], {2}),
        (3, [0, 1], set()),
        (2, [1, 1], {1}),
        (2, [], set()),
    ],
)
def test_no_sequence_of_n_tokens_comes_twice(size: int, prompt: list[int], banned: set[int]) -> None:
    assert set(range(4)) - set(kept({"no_repeat_ngram_size": size}, ROW, prompt)) == banned


def test_n_grams_of_the_reply_count_too() -> None:
    one = sampler({"no_repeat_ngram_size": 2}, prompt=[0])
    for token in (1, 2, 0):
        one.take(token, ROW)
    assert 1 not in one.candidates(ROW)[0]


def test_where_every_token_would_be_a_repetition_one_is_still_chosen() -> None:
    assert len(kept({"no_repeat_ngram_size": 1}, ROW, [0, 1, 2, 3])) == 4


def test_a_ban_that_comes_after_a_cut_leaves_what_the_cut_left() -> None:
    params = {"top_k": 1, "no_repeat_ngram_size": 1, "sampler_priority": ["top_k", "no_repeat_ngram"]}
    assert kept(params, ROW, [0]) == {0: 1.0}
    assert kept({**params, "sampler_priority": ["no_repeat_ngram", "top_k"]}, ROW, [0]) == {2: 1.0}

"""DRY, by examples and against the definition computed the slow way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.loaders.torch_sampling.making import sampler, torch, vocabulary

LETTERS = [letter.encode() for letter in "abcdefgh"]
ROW = torch.zeros(len(LETTERS))


def lost(text: str, reply: str = "", pieces: Sequence[bytes] = LETTERS, **params: Any) -> dict[str, float]:
    """Token → what DRY takes from its logit after this text of one-letter tokens."""
    ids = {piece.decode(): token for token, piece in enumerate(pieces)}
    values = {"dry_multiplier": 1.0, "dry_base": 2.0, "dry_sequence_breakers": [], **params}
    one = sampler(values, vocabulary=vocabulary(pieces=pieces), prompt=[ids[letter] for letter in text])
    for letter in reply:
        one.take(ids[letter], torch.zeros(len(pieces)))
    found = dict(zip(*one.candidates(torch.zeros(len(pieces))), strict=True))
    largest = max(found.values())
    amounts = {pieces[token].decode(): round(math.log(largest / share), 4) for token, share in found.items()}
    return {letter: amount for letter, amount in amounts.items() if amount}


def test_what_would_continue_a_repetition_loses_by_its_length() -> None:
    # llama.cpp's own example: after "abccbcyabc" (y is h), c would continue "abc", h would continue "bc"
    assert lost("abccbchabc") == {"c": 2.0, "h": 1.0}  # 2^(3-2) and 2^(2-2)
    assert lost("abccbchabc", dry_allowed_length=1) == {"c": 2.0**2, "h": 2.0, "b": 1.0}
    assert lost("abccbchabc", dry_multiplier=0.5, dry_base=3.0) == {"c": 1.5, "h": 0.5}


def test_nothing_is_lost_where_nothing_repeats() -> None:
    assert lost("abcdefgh") == {}
    assert lost("") == {}
    assert lost("a") == {}


def test_the_reply_counts_as_the_prompt_does() -> None:
    for cut in range(11):
        assert lost("abccbchabc"[:cut], "abccbchabc"[cut:]) == {"c": 2.0, "h": 1.0}


def test_the_range_ends_what_is_looked_at() -> None:
    assert lost("abcdxxxabc".replace("x", "h"), repetition_penalty_range=9) == {"d": 1.0}  # of "abc" only "bc" is left
    assert lost("abcdhhhabc", repetition_penalty_range=7) == {}


def test_a_breaker_ends_a_repetition() -> None:
    assert lost("abcdabc", dry_sequence_breakers=["b"]) == {}
    assert lost("habcdhabc", dry_sequence_breakers=["h"]) == {"d": 2.0}  # of habc only abc counts
    assert lost("abcdabc", dry_sequence_breakers=["g"]) == {"d": 2.0}


def test_a_breaker_far_back_is_still_known_where_it_stands() -> None:
    """42 tokens after the breaker, of which the last 35 stand 7 tokens earlier too."""
    for cut in (0, 1, 10, 43):
        text = "h" + "abcdefg" * 6
        got = lost(text[:cut], text[cut:], dry_base=1.05, dry_sequence_breakers=["h"])
        assert got == pytest.approx({"a": 1.05 ** (35 - 2)}, rel=1e-3)
        assert lost(text[1:], dry_base=1.05, dry_sequence_breakers=["h"]) == got


def test_a_breaker_itself_is_never_penalised() -> None:
    assert lost("abcdabc", dry_sequence_breakers=["d"]) == {}


def test_a_breaker_may_be_longer_than_a_token_or_shorter() -> None:
    assert lost("ghabcdghabc", dry_sequence_breakers=["gh"]) == {"d": 2.0}
    assert lost("ghabcdghabc", dry_sequence_breakers=["hg"]) == {"d": 2.0**3}
    pieces = [*LETTERS[:4], b"xgx", b"y"]
    words = ["a", "b", "c", "d", "xgx", "y"]
    assert words[4] == pieces[4].decode()
    values = {"dry_multiplier": 1.0, "dry_base": 2.0, "dry_sequence_breakers": ["g"]}
    one = sampler(values, vocabulary=vocabulary(pieces=pieces), prompt=[4, 0, 1, 2, 3, 4, 0, 1, 2])
    found = dict(zip(*one.candidates(torch.zeros(6)), strict=True))
    assert math.log(found[0] / found[3]) == pytest.approx(2.0, rel=1e-4)


def test_the_largest_penalty_leaves_numbers() -> None:
    one = sampler({"dry_multiplier": 5.0, "dry_base": 4.0, "dry_sequence_breakers": []},
                  vocabulary=vocabulary(pieces=[b"a"]), prompt=[0] * 400)  # fmt: skip
    assert one.pick(torch.zeros(1)).token == 0
    other = sampler({"dry_multiplier": 5.0, "dry_base": 4.0, "dry_sequence_breakers": []}, 2, prompt=[0] * 400)
    assert other.candidates(torch.zeros(2)) == ([1], [1.0])


def slow(text: Sequence[int], allowed: int, breakers: set[int]) -> dict[int, int]:
    """Token → longest run it would continue: every pair of ends, letter by letter, up to the last breaker."""
    since = next((back for back, token in enumerate(reversed(text)) if token in breakers), len(text))
    out: dict[int, int] = {}
    for end in range(1, len(text)):
        run = 0
        while run < min(end, since) and text[end - 1 - run] == text[-1 - run]:
            run += 1
        if run >= allowed and text[end] not in breakers:
            out[text[end]] = max(run, out.get(text[end], 0))
    return out if len(text) > allowed else {}


@given(
    st.lists(st.integers(0, 2), max_size=30), st.lists(st.integers(0, 2), max_size=30), st.integers(1, 4),
    st.sampled_from([[], ["b"], ["c", "a"]]), st.sampled_from([-1, 5, 12]),
)  # fmt: skip
def test_dry_is_its_definition(
    prompt: list[int], reply: list[int], allowed: int, breakers: list[str], amount: int
) -> None:
    values = {"dry_multiplier": 1.0, "dry_base": 2.0, "dry_sequence_breakers": breakers, "dry_allowed_length": allowed,
              "repetition_penalty_range": amount}  # fmt: skip
    one = sampler(values, vocabulary=vocabulary(pieces=LETTERS), prompt=prompt)
    for token in reply:
        one.take(token, ROW)
    text = [*prompt, *reply]
    wanted = slow(text[-amount:] if amount > 0 else text, allowed, {"abcdefgh".index(one) for one in breakers})
    found = dict(zip(*one.candidates(ROW.double()), strict=True))
    for token in range(3):
        expected = 2.0 ** (wanted[token] - allowed) if token in wanted else 0.0
        assert math.log(found[7] / found[token]) == pytest.approx(expected, abs=1e-3) if expected < 80 else True

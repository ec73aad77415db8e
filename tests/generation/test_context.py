"""The context ledger: what fits, what is dropped, and that it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from modules.errors import ContextOverflow, from_dict
from modules.generation.context import DEFAULT_RESERVE, cuts, fit, reserve
from modules.generation.token_count import SPECIALS
from modules.types import EngineInfo, GenerationRequest, Message, RenderedPrompt
from tests.engine_stand_in import rendered

pytestmark = pytest.mark.anyio


class WordEngine:
    """A stand-in whose tokens are words: each message costs its words and one for its role."""

    def __init__(self, context: int) -> None:
        self.info = EngineInfo("words", "words", context)
        self.tokenised = 0
        self.rendered = 0

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt:
        self.rendered += 1
        return rendered(" ", messages)

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        self.tokenised += 1
        return [hash(word) & 0xFFFF for word in text.split()]


def chat(*contents: str, **more: Any) -> GenerationRequest:
    """user, assistant, user, …"""
    roles = ("user", "assistant")
    return GenerationRequest("r", messages=tuple(Message(roles[n % 2], c) for n, c in enumerate(contents)), **more)  # type: ignore[arg-type]


async def test_a_short_prompt_is_not_tokenised() -> None:
    engine = WordEngine(4096)
    fitted = await fit(chat("hello"), engine)
    assert (fitted.prompt, engine.tokenised, fitted.ledger.exact) == ("user: hello", 0, False)
    assert fitted.ledger.prompt_tokens == len(b"user: hello") + SPECIALS
    assert fitted.ledger.reserved == DEFAULT_RESERVE


async def test_a_long_prompt_is_tokenised_once_and_sent_as_ids() -> None:
    engine = WordEngine(100)
    fitted = await fit(chat("word " * 50), engine)
    assert engine.tokenised == 1
    assert isinstance(fitted.prompt, tuple)
    assert len(fitted.prompt) == 51
    assert fitted.ledger.exact
    assert (fitted.ledger.prompt_tokens, fitted.ledger.limit) == (51, 100)


async def test_a_prompt_of_the_whole_context_is_refused_with_its_counts() -> None:
    with pytest.raises(ContextOverflow) as caught:
        await fit(chat("word " * 49), WordEngine(50))
    assert "50 tokens" in caught.value.message
    assert "at least 1 token" in caught.value.hint
    assert (caught.value.code, caught.value.status) == ("context_length_exceeded", 400)


async def test_one_token_of_room_is_enough_with_the_policy_error() -> None:
    fitted = await fit(chat("word " * 48), WordEngine(50))
    assert fitted.ledger.reserved == 1


async def test_a_length_that_cannot_be_had_is_lowered_and_said() -> None:
    fitted = await fit(chat("word " * 39, params={"max_tokens": 4000}), WordEngine(50))
    assert fitted.max_tokens == 10
    assert [(notice.code, notice.param) for notice in fitted.notices] == [("max_tokens_lowered", "max_tokens")]
    assert "4,000" in fitted.ledger.why


async def test_a_context_that_shifts_leaves_the_length_as_it_was_asked_for() -> None:
    engine = WordEngine(50)
    engine.info = replace(engine.info, shifts_context=True)
    fitted = await fit(chat("word " * 39, params={"max_tokens": 4000}), engine)
    assert (fitted.max_tokens, fitted.notices) == (4000, ())


async def test_the_oldest_turns_go_first_and_the_first_kept_message_is_the_users() -> None:
    contents = [f"m{n} " + "word " * 9 for n in range(9)]
    request = chat(*contents, overflow="drop_oldest", params={"max_tokens": 10})
    system = Message("system", "be kind")
    request = GenerationRequest(
        "r", messages=(system, *(request.messages or ())), overflow="drop_oldest", params={"max_tokens": 10}
    )
    engine = WordEngine(60)
    fitted = await fit(request, engine)
    words = fitted.text.split()
    assert words[:5] == ["system:", "be", "kind", "user:", "m6"]  # a step of four turns would leave too little
    assert fitted.ledger.dropped_messages == 6
    assert fitted.ledger.kept_messages == 4
    assert fitted.ledger.prompt_tokens + 10 <= 60
    assert fitted.ledger.dropped_tokens == 6 * 11
    assert [notice.code for notice in fitted.notices] == ["context_dropped"]
    assert "6 oldest messages" in fitted.ledger.why


async def test_as_little_is_dropped_as_steps_allow() -> None:
    for size in range(3, 60, 2):
        request = chat(*["word " * 4] * size, overflow="drop_oldest", params={"max_tokens": 5})
        ledger = (await fit(request, WordEngine(60))).ledger
        assert ledger.kept_messages * 5 <= 55
        if ledger.dropped_messages:
            assert ledger.prompt_tokens >= 0.6 * 55
            assert ledger.dropped_messages % 4 == 0  # messages; two turns at a time here, four would be too many


async def test_the_next_turns_begin_with_the_same_text_so_that_the_cache_is_used() -> None:
    engine = WordEngine(1000)
    beginnings = []
    for size in range(81, 121, 2):
        request = chat(*[f"m{n} " + "word " * 10 for n in range(size)], overflow="drop_oldest")
        beginnings.append((await fit(request, engine)).text[:20])
    changes = sum(a != b for a, b in pairwise(beginnings))
    assert changes <= 5  # of 19 turns


async def test_the_newest_user_message_is_never_dropped() -> None:
    request = chat("word " * 30, "word " * 30, "newest " + "word " * 45, overflow="drop_oldest")
    fitted = await fit(request, WordEngine(60))
    assert fitted.ledger.kept_messages == 1
    assert "newest" in fitted.text


async def test_a_newest_message_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(ContextOverflow) as caught:
        await fit(chat("a", "b", "word " * 70, overflow="drop_oldest"), WordEngine(60))
    assert "left out" in caught.value.message


async def test_a_long_chat_is_shortened_in_few_steps() -> None:
    engine = WordEngine(200)
    await fit(chat(*["word " * 4] * 1001, overflow="drop_oldest"), engine)
    assert engine.rendered < 15


async def test_token_ids_are_counted_as_they_are() -> None:
    request = GenerationRequest("r", prompt=(1, 2, 3))
    fitted = await fit(request, WordEngine(100))
    assert (fitted.prompt, fitted.ledger.prompt_tokens, fitted.ledger.exact) == ((1, 2, 3), 3, True)


def test_a_greeting_before_the_first_user_message_can_be_dropped() -> None:
    messages = [Message("system", ""), Message("assistant", ""), Message("user", ""), Message("user", "")]
    assert cuts(messages) == [2, 3]
    assert cuts(messages[:1]) == []
    assert cuts([Message("user", "")]) == []


def test_the_reserve_never_takes_more_than_a_quarter() -> None:
    assert (reserve(0, 8192), reserve(0, 1000), reserve(100, 8192), reserve(9000, 8192)) == (512, 250, 100, 2048)


def told(*sizes: int, **more: Any) -> GenerationRequest:
    """A chat of user messages with so many words each, answered but for those that were refused and the newest."""
    messages = [Message("system", "be kind")]
    for number, size in enumerate(sizes):
        messages.append(Message("user", f"m{number}" + " word" * (size - 1)))
        if size < 90 and number < len(sizes) - 1:
            messages.append(Message("assistant", f"r{number}"))
    more = {"overflow": "drop_oldest", "params": {"max_tokens": 10}, "merge_neighbours": True} | more
    return GenerationRequest("r", messages=tuple(messages), **more)


async def test_a_message_that_could_never_fit_goes_and_the_older_ones_stay() -> None:
    fitted = await fit(told(5, 500, 5), WordEngine(100))
    words = fitted.text.split()
    assert [word for word in words if word in ("m0", "r0", "m1", "m2")] == ["m0", "r0", "m2"]
    ledger = fitted.ledger
    assert (ledger.kept_messages, ledger.dropped_messages, ledger.oversized_messages) == (4, 1, 1)
    assert ledger.dropped_tokens >= 499
    assert [notice.code for notice in fitted.notices] == ["context_dropped"]
    assert "The message longer than the context (" in ledger.why
    assert [(row.name, row.messages, row.dropped_messages) for row in ledger.sources] == [
        ("system_prompt", 1, 0), ("history", 3, 1),
    ]  # fmt: skip


async def test_a_message_that_fits_only_without_the_system_prompt_is_one_that_never_fits() -> None:
    fitted = await fit(told(5, 89, 5), WordEngine(100))
    assert fitted.ledger.oversized_messages == 2  # with the reply that a larger context once gave it
    assert "m0" in fitted.text
    assert "r1" not in fitted.text


async def test_the_oldest_go_too_where_that_is_not_enough() -> None:
    fitted = await fit(told(40, 500, 40, 40), WordEngine(100))
    assert (fitted.ledger.oversized_messages, fitted.ledger.dropped_messages) == (1, 3)
    assert "m2" in fitted.text


async def test_the_newest_message_is_refused_when_it_is_larger_than_the_context_and_the_figures_are_told() -> None:
    for more in ({}, {"overflow": "error"}):
        with pytest.raises(ContextOverflow) as caught:
            await fit(told(5, 500, **more), WordEngine(100))
        figures = caught.value.figures
        assert figures["limit"] == 100
        assert figures["prompt_tokens"] > 500
        assert figures["needed"] == figures["prompt_tokens"] + DEFAULT_RESERVE
        assert from_dict(caught.value.as_dict()).figures == figures


async def test_neighbours_of_one_role_are_sent_as_one_only_where_that_is_asked() -> None:
    for merge, roles in ((True, 1), (False, 2)):
        fitted = await fit(told(500, 5, 5, merge_neighbours=merge, overflow="error"), WordEngine(1000))
        assert fitted.text.split("assistant:")[0].count("user:") == roles

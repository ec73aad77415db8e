"""Counting chats with images, and chats an engine renders by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from modules.errors import BadRequest, ContextOverflow, Unsupported
from modules.generation.context import fit
from modules.generation.token_count import IMAGE_TOKENS, ROLE_TOKENS
from modules.types import EngineInfo, GenerationRequest, Message, RenderedPrompt
from tests.engine_stand_in import rendered
from tests.pictures import looking

pytestmark = pytest.mark.anyio


class WordEngine:
    """Its tokens are words; `counts` False = it cannot count."""

    def __init__(self, context: int, renders: bool = True, counts: bool = True, **details: Any) -> None:
        self.info = EngineInfo("words", "words", context, renders_templates=renders, details=details)
        self.counts = counts
        self.counted: list[str] = []
        self.loses = False

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt:
        assert self.info.renders_templates, "an engine that renders itself must not be asked to"
        prompt = rendered(" ", messages)
        return replace(prompt, image_places=prompt.image_places[1:]) if self.loses else prompt

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        if not self.counts:
            raise Unsupported("It cannot count.")
        self.counted.append(text)
        return [1] * len(text.split())


def chat(*contents: str, **more: Any) -> GenerationRequest:
    roles = ("user", "assistant")
    return GenerationRequest("r", messages=tuple(Message(roles[n % 2], c) for n, c in enumerate(contents)), **more)  # type: ignore[arg-type]


async def test_an_engine_that_renders_itself_gets_the_messages() -> None:
    engine = WordEngine(4096, renders=False)
    request = chat("hello", "yes", "and?")
    fitted = await fit(request, engine)
    assert (fitted.prompt, fitted.messages, fitted.text) == (None, request.messages, "")
    assert engine.counted == []
    assert not fitted.ledger.exact
    assert "bytes" in fitted.ledger.why
    assert fitted.ledger.prompt_tokens == len(b"helloyesand?") + 3 * ROLE_TOKENS


async def test_what_does_not_surely_fit_is_counted_message_by_message() -> None:
    engine = WordEngine(200, renders=False)
    fitted = await fit(chat("longword " * 60), engine)
    assert fitted.ledger.prompt_tokens == 60 + ROLE_TOKENS
    assert (fitted.ledger.exact, fitted.ledger.kept_messages) == (False, 1)
    assert "tokens of the messages" in fitted.ledger.why


async def test_the_oldest_messages_are_dropped_also_where_the_engine_renders() -> None:
    engine = WordEngine(300, renders=False)
    contents = [f"m{n} " + "longword " * 19 for n in range(21)]
    request = chat(*contents, overflow="drop_oldest", params={"max_tokens": 20})
    fitted = await fit(request, engine)
    assert fitted.messages is not None
    assert fitted.messages[-1].text == contents[-1]
    assert fitted.messages[0].role == "user"
    assert len(fitted.messages) == fitted.ledger.kept_messages == 21 - fitted.ledger.dropped_messages
    assert fitted.ledger.prompt_tokens + 20 <= 300
    assert fitted.ledger.kept_messages >= 5
    assert [notice.code for notice in fitted.notices] == ["context_dropped"]
    assert sorted(engine.counted) == sorted(contents), "each message is counted once"


async def test_without_a_count_bytes_decide_what_is_dropped_but_never_what_is_refused() -> None:
    engine = WordEngine(300, renders=False, counts=False)
    contents = ["longword " * 19 for _ in range(5)]
    kept = await fit(chat(*contents, params={"max_tokens": 200}), engine)
    assert kept.ledger.kept_messages == 5
    assert kept.max_tokens == 200
    assert "bytes" in kept.ledger.why
    dropped = await fit(chat(*contents, overflow="drop_oldest"), engine)
    assert dropped.ledger.kept_messages == 1


async def test_messages_that_surely_do_not_fit_are_refused_with_their_count() -> None:
    with pytest.raises(ContextOverflow) as caught:
        await fit(chat("longword " * 300), WordEngine(300, renders=False))
    assert "300 tokens" in caught.value.message
    fitted = await fit(chat("longword " * 299), WordEngine(300, renders=False))
    assert fitted.max_tokens == 0


async def test_a_length_is_lowered_by_what_the_engines_template_will_take() -> None:
    """Servers refuse a request whose prompt and max_tokens together are more than their context."""
    engine = WordEngine(200, renders=False)
    fitted = await fit(chat("longword " * 60, params={"max_tokens": 190}), engine)
    assert fitted.max_tokens == 200 - 60 - ROLE_TOKENS
    assert [notice.code for notice in fitted.notices] == ["max_tokens_lowered"]
    assert (await fit(chat("longword " * 195, params={"max_tokens": 50}), engine)).max_tokens == 1


@pytest.mark.parametrize("renders", [True, False])
async def test_an_engine_that_does_not_tell_its_context_has_nothing_left_out(renders: bool) -> None:
    request = chat(*["longword " * 500] * 9, overflow="drop_oldest", params={"max_tokens": 7})
    fitted = await fit(request, WordEngine(0, renders=renders, counts=False))
    assert (fitted.ledger.kept_messages, fitted.ledger.limit, fitted.max_tokens) == (9, 0, 7)
    assert "does not tell its context" in fitted.ledger.why
    raw = await fit(GenerationRequest("r", prompt="a b"), WordEngine(0, renders=renders))
    assert raw.prompt == "a b"


async def test_a_raw_prompt_goes_as_it_is_also_to_an_engine_that_renders() -> None:
    fitted = await fit(GenerationRequest("r", prompt="longword " * 30), WordEngine(100, renders=False, counts=False))
    assert (fitted.prompt, fitted.messages) == ("longword " * 30, None)
    assert not fitted.ledger.exact
    assert "upper bound" in fitted.ledger.why


async def test_images_of_known_size_are_counted_exactly_and_sent_with_text() -> None:
    engine = WordEngine(100, image_tokens=30)
    look = looking("longword " * 9, "one", "two")
    fitted = await fit(GenerationRequest("r", messages=(look,)), engine)
    assert fitted.images == ("one", "two")
    assert (fitted.prompt, fitted.image_places) == ("user: " + "longword " * 9, (6, 6))
    assert (fitted.ledger.prompt_tokens, fitted.ledger.exact) == (10 + 60, True)
    with pytest.raises(ContextOverflow):
        await fit(GenerationRequest("r", messages=(looking("longword " * 9, *"xxxx"),)), engine)


async def test_images_of_unknown_size_are_a_guess_that_is_said_and_refuses_nothing() -> None:
    request = GenerationRequest("r", messages=(looking("look", "one"),), params={"max_tokens": 50})
    fitted = await fit(request, WordEngine(600))
    assert (fitted.ledger.prompt_tokens, fitted.ledger.exact) == (2 + IMAGE_TOKENS, False)
    assert f"{IMAGE_TOKENS:,}" in fitted.ledger.why
    assert fitted.max_tokens == 50


async def test_what_is_dropped_takes_its_images_along() -> None:
    engine = WordEngine(100, image_tokens=30)
    messages = tuple(looking(f"m{n}", f"i{n}") if n % 2 == 0 else Message("assistant", f"m{n}") for n in range(7))
    request = GenerationRequest("r", messages=messages, overflow="drop_oldest", params={"max_tokens": 10})
    fitted = await fit(request, engine)
    assert fitted.images == ("i4", "i6")
    assert isinstance(fitted.prompt, str)
    assert [fitted.prompt[place:][:2] for place in fitted.image_places] == ["m4", "m6"]
    unrendered = await fit(request, WordEngine(170, renders=False, image_tokens=30))
    assert unrendered.messages == messages[4:]


async def test_a_template_that_loses_an_image_is_refused() -> None:
    engine = WordEngine(4096)
    engine.loses = True
    with pytest.raises(BadRequest) as caught:
        await fit(GenerationRequest("r", messages=(looking("look", "one", "two"),)), engine)
    assert caught.value.code == "images_misplaced"
    assert "1 places" in caught.value.message


async def test_the_images_of_a_raw_prompt_need_a_place_each() -> None:
    engine = WordEngine(4096)
    fitted = await fit(GenerationRequest("r", prompt="a b", images=("one",), image_places=(2,)), engine)
    assert (fitted.images, fitted.prompt, fitted.image_places) == (("one",), "a b", (2,))
    for prompt, places in (("a", ()), ("ab", (1, 2)), ("a", (2,)), ("a", (-1,)), ((1, 2), (1,))):
        with pytest.raises(BadRequest):
            await fit(GenerationRequest("r", prompt=prompt, images=("one",), image_places=places), engine)
    with pytest.raises(BadRequest):
        await fit(GenerationRequest("r", prompt="abc", images=("one", "two"), image_places=(2, 1)), engine)

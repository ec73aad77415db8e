"""The echo engine, by the suite every loader passes, and what it does on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders import echo
from loaders.base import Feature
from loaders.text.media_mark import MEDIA_MARK
from modules.drivers.connect import ConnectedEngine
from modules.generation.checks import checked_against
from modules.messages.parts import FunctionCall
from modules.messages.tool_calls import ToolCallAssembler
from modules.types import GenerationRequest, Message, ToolCall
from tests.engine.asking import embed
from tests.engine.making import ask, collect, done_of, running, text_of
from tests.loaders.conformance import Conformance, Loaded, cell
from tests.pictures import picture

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def loaded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
    async with running(tmp_path_factory.mktemp("echo"), tokens=300, speed=600, context=2048, parallel=4) as pair:
        yield pair


class TestEcho(Conformance):
    def unicode_request(self) -> tuple[GenerationRequest, str]:
        return ask("whatever", params={"max_tokens": 1}), ""

    @cell("unicode")
    async def test_characters_over_several_tokens_come_whole(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        text = "<think>hm 🤔</think>\n# 漢字 é 🎉🎊\n```py\nx = 1\n```\n$\\frac{1}{2}$ 👩‍👩‍👧"
        async with running(tmp_path_factory.mktemp("script"), script=text) as (engine, _):
            chunks = await collect(engine, ask("x", logprobs=1))
            assert text_of(chunks) == text
            assert done_of(chunks).reason == "stop"
            cut = await collect(engine, ask("x", params={"max_tokens": 3}))
            assert text_of(cut).startswith("<think>")
            assert done_of(cut).reason == "length"


class TestSwitchedOn:
    """What echo only makes believe, and only when its settings say so: for tests of what is built on it."""

    @pytest.fixture(scope="class")
    async def engine(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConnectedEngine]:
        settings = {"images": 5, "adapters": "style, tone", "negative": True, "embeddings": 8,
                    "tool_calls": '[{"name": "weather", "arguments": {"city": "Oslo"}}]'}  # fmt: skip
        async with running(tmp_path_factory.mktemp("switched"), **settings) as (engine, _):
            yield engine

    @pytest.mark.cell(Feature.VISION.value, loader="echo")
    async def test_an_image_is_seen_where_its_mark_stands_and_counted(self, engine: ConnectedEngine) -> None:
        chunks = await collect(engine, ask("Look:  What?", images=(picture(),), image_places=(6,)))
        said = text_of(chunks)
        assert said.startswith("Look: ")
        assert MEDIA_MARK not in said
        assert len(said) > len("Look:  What?")
        bare = done_of(await collect(engine, ask("Look:  What?")))
        assert done_of(chunks).stats.prompt_tokens - bare.stats.prompt_tokens in (5, 6)

    @pytest.mark.cell(Feature.TOOLS.value, loader="echo")
    async def test_a_tool_is_called_and_its_result_is_answered(self, engine: ConnectedEngine) -> None:
        tools = ({"type": "function", "function": {"name": "weather"}},)
        asked = (Message("user", "Warm?"),)
        prompt = (await engine.render(asked, {})).text
        chunks = await collect(engine, ask(prompt, tools=tools))
        made = ToolCallAssembler()
        for chunk in chunks:
            if isinstance(chunk, ToolCall):
                made.add(chunk)
        assert made.calls == (FunctionCall("call_0", "weather", '{"city": "Oslo"}'),)
        assert done_of(chunks).reason == "tool_calls"
        assert done_of(await collect(engine, ask(prompt, tools=tools, tool_choice="none"))).reason == "stop"
        told = (*asked, Message("assistant", tool_calls=made.calls), Message("tool", "4 C", tool_call_id="call_0"))
        assert text_of(await collect(engine, ask((await engine.render(told, {})).text, tools=tools))) == "4 C"

    @pytest.mark.cell(Feature.LORA.value, loader="echo")
    async def test_an_adapter_is_told_with_its_scale(self, engine: ConnectedEngine) -> None:
        assert dict(engine.info.adapters) == {"style": 0.0, "tone": 0.0}
        request = ask("x", lora={"tone": 0.5})
        assert checked_against(request, engine) == []
        assert text_of(await collect(engine, request)) == "x lora={'tone': 0.5}"

    @pytest.mark.cell(Feature.NEGATIVE_PROMPT.value, loader="echo")
    async def test_a_negative_prompt_is_told(self, engine: ConnectedEngine) -> None:
        request = ask("x", negative_prompt="not this", params={"guidance_scale": 2.0})
        checked_against(request, engine)
        assert "not this" in text_of(await collect(engine, request))

    @pytest.mark.cell(Feature.EMBEDDINGS.value, loader="echo")
    async def test_texts_that_share_words_have_vectors_that_are_near(self, engine: ConnectedEngine) -> None:
        made = await embed(engine, ["the cat sat down", "the cat sat up", "entirely other things"])
        one, near, far = made.vectors
        assert {len(vector) for vector in made.vectors} == {8}
        assert sum(x * y for x, y in zip(one, near, strict=True)) > sum(x * y for x, y in zip(one, far, strict=True))


async def test_without_a_script_it_says_what_the_user_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with running(tmp_path_factory.mktemp("echo")) as (engine, _):
        chat = (Message("user", "first"), Message("assistant", "first"), Message("user", "two\nlines 🎉"))
        assert text_of(await collect(engine, ask((await engine.render(chat, {})).text))) == "two\nlines 🎉"
        begun = (*chat, Message("assistant", "two\nli"))
        assert text_of(await collect(engine, ask((await engine.render(begun, {}, True)).text))) == "nes 🎉"


async def test_a_reply_has_exactly_the_length_asked_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with running(tmp_path_factory.mktemp("echo"), tokens=123) as (engine, _):
        done = done_of(await collect(engine, ask()))
        assert (done.stats.completion_tokens, done.reason) == (123, "stop")


@given(st.text())
def test_pieces_and_their_numbers_hold_any_text(text: str) -> None:
    found = echo.pieces(text)
    assert b"".join(found) == text.encode("utf-8", "replace")
    assert [echo.piece_of(echo.token_id(piece)) for piece in found] == found


@pytest.mark.parametrize("token", [-1, 0, 5, 1 << 40, 1 << 70])
def test_what_is_no_token_is_nothing(token: int) -> None:
    assert echo.piece_of(token) == b""

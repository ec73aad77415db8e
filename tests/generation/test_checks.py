"""What is refused before anything is computed, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from loaders.base import Feature
from modules.errors import BadParameter, BadRequest, Unsupported
from modules.generation.checks import LARGEST_LORA
from modules.generation.pipeline import Generation, Result
from modules.messages.parts import ImagePart, TextPart
from modules.sampling.params import BY_NAME
from modules.types import Done, GenerationRequest, Message, Reasoning, Stats, Text
from tests.engine_stand_in import Lender, StandIn
from tests.pictures import looking, picture

pytestmark = pytest.mark.anyio
HELLO = (Message("user", "hello"),)
ALL = frozenset(Feature)


async def reply(engine: StandIn, **more: Any) -> Result:
    more.setdefault("messages", None if "prompt" in more else HELLO)
    return await Generation(Lender(engine)).run(GenerationRequest("r", **more))


@pytest.mark.parametrize(
    ("feature", "more"),
    [
        (Feature.VISION, {"messages": (looking("look", picture()),)}),
        (Feature.VISION, {"prompt": "look ", "images": (picture(),), "image_places": (5,)}),
        (Feature.LORA, {"lora": {"style": 1.0}}),
        (Feature.NEGATIVE_PROMPT, {"negative_prompt": "x", "params": {"guidance_scale": 2.0}}),
    ],
)
async def test_what_cannot_be_done_is_refused_before_the_engine_hears_of_it(
    feature: Feature, more: dict[str, Any]
) -> None:
    engine = StandIn(features=ALL - {feature}, adapters={"style": 0.0})
    with pytest.raises(Unsupported) as caught:
        await reply(engine, **more)
    assert feature.value in caught.value.message
    assert engine.requests == []
    able = StandIn(adapters={"style": 0.0})
    await reply(able, **more)
    assert len(able.requests) == 1


async def test_a_model_that_lacks_what_its_loader_can_is_named_instead_of_the_loader() -> None:
    engine = StandIn()
    engine.info = type(engine.info)("blind", "test", 4096, features=("logprobs",))
    with pytest.raises(Unsupported) as caught:
        await reply(engine, messages=(looking("look", picture()),))
    assert "blind" in caught.value.message


async def test_images_reach_the_engine_in_order_with_a_place_for_each() -> None:
    engine = StandIn()
    first, second = picture(color="red"), picture(color="blue")
    between = Message("user", (TextPart("x"), ImagePart(second), TextPart("y")))
    await reply(engine, messages=(looking("one", first), between))
    request = engine.requests[0]
    assert request.images == (first, second)
    assert (request.prompt, request.image_places) == ("user: one\nuser: xy", (6, 17))
    assert request.messages is None


@pytest.mark.parametrize("images", [("no base64!",), ("aGVsbG8=",), (picture(),) * 65])
async def test_a_bad_image_is_refused_before_a_model_is_loaded_for_it(images: tuple[str, ...]) -> None:
    lender = Lender(StandIn())
    with pytest.raises(BadRequest) as caught:
        await Generation(lender).run(GenerationRequest("r", messages=(looking("look", *images),)))
    assert caught.value.param == "messages"
    assert lender.names == []


async def test_an_engine_that_renders_gets_messages_and_no_word_about_templates() -> None:
    engine = StandIn(renders_templates=False, template=False)
    messages = (Message("system", "be kind"), looking("look", picture()))
    result = await reply(engine, messages=messages, negative_prompt="sad", params={"guidance_scale": 2.0})
    request = engine.requests[0]
    assert (request.messages, request.prompt, request.images) == (messages, None, ())
    assert "no_chat_template" not in [notice.code for notice in result.notices]
    await reply(engine, prompt="raw")
    assert (engine.requests[1].prompt, engine.requests[1].messages) == ("raw", None)


async def test_continuing_is_refused_where_an_engine_that_renders_cannot() -> None:
    messages = (*HELLO, Message("assistant", "so"))
    with pytest.raises(Unsupported):
        await reply(
            StandIn(renders_templates=False, features=ALL - {Feature.CONTINUE}), messages=messages, continue_last=True
        )
    await reply(StandIn(renders_templates=False), messages=messages, continue_last=True)


async def test_thinking_that_an_engine_splits_off_itself_is_counted() -> None:
    chunks = [Reasoning("hm", 3), Text("yes"), Done("stop", Stats(5, 0, 4))]
    result = await reply(StandIn(chunks, renders_templates=False))
    assert (result.reasoning, result.text, result.done.stats.reasoning_tokens) == ("hm", "yes", 3)
    stopped = await reply(StandIn([Reasoning("hm", 3), Text("a#")], renders_templates=False), stop=("#",))
    assert stopped.done.stats.completion_tokens == 4
    assert stopped.done.stats.prompt_tokens == stopped.ledger.prompt_tokens  # type: ignore[union-attr]


async def test_an_adapter_there_is_not_is_refused_with_those_there_are() -> None:
    engine = StandIn(adapters={"style": 0.5, "tone": 1.0})
    with pytest.raises(BadRequest) as caught:
        await reply(engine, lora={"style": 1.0, "stile": 1.0})
    assert (caught.value.code, caught.value.param) == ("adapter_not_found", "lora")
    assert "'stile'" in caught.value.message
    assert "style, tone" in caught.value.hint
    assert engine.requests == []
    await reply(engine, lora={"style": -1.5})
    await reply(engine, lora={})
    assert [request.lora for request in engine.requests] == [{"style": -1.5}, {}]


@pytest.mark.parametrize("scale", [LARGEST_LORA + 1, -LARGEST_LORA - 1, float("nan"), float("inf")])
async def test_the_scale_of_an_adapter_has_limits(scale: float) -> None:
    with pytest.raises(BadParameter) as caught:
        await reply(StandIn(adapters={"style": 1.0}), lora={"style": scale})
    assert caught.value.param == "lora"


@pytest.mark.parametrize("scale", [None, BY_NAME["guidance_scale"].default])
async def test_a_negative_prompt_without_guidance_is_said_to_do_nothing(scale: float | None) -> None:
    given = {} if scale is None else {"guidance_scale": scale}
    for engine in (StandIn(), StandIn(features=frozenset())):
        result = await reply(engine, negative_prompt="sad", params=given)
        assert ("without_effect", "negative_prompt") in [(notice.code, notice.param) for notice in result.notices]


async def test_the_images_of_a_chat_are_its_messages_alone() -> None:
    with pytest.raises(BadRequest):
        await reply(StandIn(), messages=HELLO, images=(picture(),))

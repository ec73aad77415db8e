"""The pipeline: order of what comes out, refusals, cancelling at any moment, figures."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from loaders.base import Feature
from modules.errors import BadParameter, ContextOverflow, EngineCrashed, EngineError, NotFound, Unsupported
from modules.generation.pipeline import Generation, Result
from modules.generation.thinking import with_thinking
from modules.types import (
    Chunk,
    Done,
    EngineInfo,
    Failed,
    GenerationRequest,
    Ledger,
    Message,
    Notice,
    Progress,
    Reasoning,
    Stats,
    TemplateTraits,
    Text,
    ThinkingSwitch,
)  # fmt: skip
from tests.engine_stand_in import Lender, StandIn

pytestmark = pytest.mark.anyio
HELLO = (Message("user", "hello"),)


def ask(**more: Any) -> GenerationRequest:
    more.setdefault("messages", None if "prompt" in more else HELLO)
    return GenerationRequest("r", **more)


async def collect(generation: Generation, request: GenerationRequest) -> list[Chunk]:
    return [chunk async for chunk in generation.stream(request)]


async def reply(engine: StandIn, **more: Any) -> Result:
    return await Generation(Lender(engine)).run(ask(**more))


async def test_a_reply_begins_with_the_ledger_and_ends_with_done() -> None:
    engine = StandIn()
    chunks = await collect(Generation(Lender(engine)), ask())
    assert [type(chunk) for chunk in chunks] == [Ledger, Text, Done]
    ledger = chunks[0]
    assert isinstance(ledger, Ledger)
    assert (ledger.model, ledger.limit, ledger.kept_messages) == ("stand-in", 4096, 1)
    assert engine.requests[0].prompt == "user: hello"
    assert engine.requests[0].messages is None


async def test_loading_is_seen_and_what_was_decided_is_said() -> None:
    notice = Notice("model_loaded", "It was the only one.")
    lender = Lender(StandIn(), (notice,), (Progress("loading", 1, 100), Progress("loading", 90, 100)))
    chunks = await collect(Generation(lender), ask(model="x"))
    assert chunks[:3] == [Progress("loading", 1, 100), Progress("loading", 90, 100), notice]
    assert lender.names == ["x"]
    assert lender.out == 0


async def test_an_error_while_loading_becomes_failed_with_its_status() -> None:
    lender = Lender(StandIn(), error=NotFound("There is no model called x.", code="model_not_found"))
    chunks = await collect(Generation(lender), ask())
    assert isinstance(chunks[-1], Failed)
    assert (chunks[-1].error["status"], chunks[-1].error["code"]) == (404, "model_not_found")
    with pytest.raises(NotFound) as caught:
        await Generation(lender).run(ask())
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert lender.out == 0


async def test_a_stop_string_ends_the_reply_and_the_engine_at_once() -> None:
    engine = StandIn([Progress("prompt", 11, 11, 4), Text("one "), Text("ST"), Text("OP two"), 3600, Text("never")])
    lender = Lender(engine)
    result = await asyncio.wait_for(Generation(lender).run(ask(stop=("STOP",))), 20)
    assert (result.text, result.done.reason, result.done.stop) == ("one ", "stop", "STOP")
    assert (engine.running, engine.cancelled, lender.out) == (0, 1, 0)
    stats = result.done.stats
    assert (stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens) == (11, 4, 3)
    assert stats.first_token_ms > 0
    assert stats.context_limit == 4096


async def test_the_prompt_is_counted_exactly_after_a_stop_string_also_when_the_engine_says_nothing() -> None:
    result = await reply(StandIn([Text("a#")]), stop=("#",))
    assert result.ledger is not None
    assert not result.ledger.exact
    assert result.done.stats.prompt_tokens == len("user: hello")


async def test_held_back_text_comes_before_done_and_before_failed() -> None:
    assert (await reply(StandIn([Text("a#"), Done("stop")]), stop=("##",))).text == "a#"
    chunks = await collect(
        Generation(Lender(StandIn([Text("a#"), Failed(EngineCrashed("It is gone.").as_dict())]))), ask(stop=("##",))
    )
    assert [chunk for chunk in chunks if isinstance(chunk, Text)] == [Text("a", 1), Text("#", 0)]
    assert isinstance(chunks[-1], Failed)


async def test_thinking_is_split_off_and_counted() -> None:
    engine = StandIn([Text(t) for t in ("<think>", "hm", "</think>", "yes")] + [Done("stop", Stats(5, 0, 5))])
    result = await reply(engine)
    assert (result.reasoning, result.text) == ("hm", "yes")
    assert (result.done.stats.completion_tokens, result.done.stats.reasoning_tokens) == (5, 2)


async def test_a_template_that_opens_the_thinking_is_noticed() -> None:
    engine = StandIn([Text("hm"), Text("</think>yes"), Done("stop")], prompt_end="\nassistant: <think>\n")
    result = await reply(engine)
    assert (result.reasoning, result.text) == ("hm", "yes")


async def test_a_raw_prompt_comes_back_with_its_tags() -> None:
    result = await reply(StandIn([Text("<think>hm</think>yes"), Done("stop")]), prompt="x")
    assert (result.reasoning, result.text) == ("", "<think>hm</think>yes")


async def test_continuing_a_reply_that_was_thinking_goes_on_thinking() -> None:
    messages = (*HELLO, Message("assistant", "<think>so"))
    result = await reply(StandIn([Text(" far</think>yes"), Done("stop")]), messages=messages, continue_last=True)
    assert (result.reasoning, result.text) == (" far", "yes")
    engine = StandIn([Text(" far</think>yes"), Done("stop")], prompt_end="<think>\nso")
    messages = (*HELLO, Message("assistant", "", reasoning="so"))
    result = await reply(engine, messages=messages, continue_last=True)
    assert (result.reasoning, result.text) == (" far", "yes"), "as a chat keeps it: the thinking apart from the text"


async def test_a_system_prompt_is_merged_where_the_model_has_no_role_for_it_and_that_is_said() -> None:
    engine = StandIn([Text("yes"), Done("stop")])
    engine.info = replace(engine.info, template=TemplateTraits(system_role=False))
    result = await reply(engine, messages=(Message("system", "Be brief."), *HELLO))
    assert [notice.code for notice in result.notices] == ["system_merged"]
    assert "system" not in str(engine.requests[0].prompt)
    assert "Be brief." in str(engine.requests[0].prompt)


@pytest.mark.parametrize(
    ("wish", "given", "expected"),
    [("on", {}, {"enable_thinking": True}), ("off", {}, {"enable_thinking": False}), ("default", {}, {}),
     ("off", {"enable_thinking": True}, {"enable_thinking": True})],
)  # fmt: skip
def test_thinking_is_switched_with_the_templates_own_variable(wish: Any, given: Any, expected: Any) -> None:
    traits = TemplateTraits(thinking=ThinkingSwitch("enable_thinking", True, False))
    request = GenerationRequest("1", messages=HELLO, thinking=wish, template_vars=given)
    assert with_thinking(request, EngineInfo("m", "x", 64, template=traits))[0].template_vars == expected


def test_thinking_that_cannot_be_switched_is_said_unless_it_is_so_anyway() -> None:
    def codes(wish: Any, reasons: bool) -> list[str]:
        request = GenerationRequest("1", messages=HELLO, thinking=wish)
        info = EngineInfo("m", "x", 64, template=TemplateTraits(reasons=reasons))
        return [notice.code for notice in with_thinking(request, info)[1]]

    assert codes("on", False) == codes("off", True) == ["thinking_fixed"]
    assert codes("off", False) == codes("default", True) == []


async def test_ignored_samplers_are_named_one_by_one() -> None:
    result = await reply(StandIn(), params={"top_k": 5, "min_p": 0.0, "mirostat_mode": "2", "seed": 3})
    assert [(notice.code, notice.param) for notice in result.notices] == [
        ("sampler_ignored", "top_k"), ("sampler_ignored", "mirostat_mode"),
    ]  # fmt: skip
    assert all("loader test" in notice.message for notice in result.notices)


async def test_a_model_without_a_template_is_said() -> None:
    result = await reply(StandIn(template=False))
    assert [notice.code for notice in result.notices] == ["no_chat_template"]


async def test_a_model_without_a_template_stops_where_the_plain_one_ends_a_turn() -> None:
    chunks = [Text("Yes."), Text("<|im_"), Text("end|>"), Text("\n<|im_start|>user"), Done("length")]
    engine = StandIn(chunks, template=False)
    assert (await reply(engine)).text == "Yes."
    assert "<|im_end|>" in engine.requests[0].stop
    assert (await reply(StandIn(chunks))).text != "Yes."


@pytest.mark.parametrize(
    ("feature", "more"),
    [
        (Feature.LOGPROBS, {"logprobs": 2}),
        (Feature.GRAMMAR, {"grammar": 'root ::= "a"'}),
        (Feature.JSON_SCHEMA, {"json_schema": {"type": "object"}}),
        (Feature.CONTINUE, {"continue_last": True, "messages": (*HELLO, Message("assistant", "a"))}),
    ],
)
async def test_what_the_loader_cannot_do_is_refused_not_ignored(feature: Feature, more: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        await reply(StandIn(features=frozenset(Feature) - {feature}), **more)
    assert caught.value.status == 422
    assert "test" in caught.value.message
    await reply(StandIn(features=frozenset({feature})), **more)


async def test_a_prompt_too_long_never_reaches_the_engine() -> None:
    engine = StandIn(context=20)
    with pytest.raises(ContextOverflow):
        await reply(engine, messages=(Message("user", "x" * 50),))
    assert not engine.requests


async def test_the_length_that_fits_is_what_the_engine_is_asked_for() -> None:
    engine = StandIn(context=100)
    result = await reply(engine, params={"max_tokens": 500})
    assert engine.requests[0].params["max_tokens"] == 100 - len("user: hello")
    assert [notice.code for notice in result.notices] == ["max_tokens_lowered"]


async def test_echo_gives_the_prompt_back_untouched_by_stop_strings() -> None:
    result = await reply(StandIn([Text("b"), Done("stop")]), prompt="a#", echo=True, stop=("#",))
    assert result.text == "a#b"
    assert (await reply(StandIn([Text("b"), Done("stop")]), prompt=(104, 105), echo=True)).text == "hib"


async def test_a_request_without_anything_to_answer_is_refused() -> None:
    for more in ({"messages": ()}, {"prompt": ""}, {"prompt": ()}, {"prompt": "x", "messages": HELLO},
                 {"continue_last": True}):  # fmt: skip
        chunks = await collect(Generation(Lender(StandIn())), ask(**more))
        assert isinstance(chunks[-1], Failed)
        assert chunks[-1].error["status"] == 400


async def test_a_fault_of_ours_is_told_without_its_insides(caplog: pytest.LogCaptureFixture) -> None:
    lender = Lender(StandIn([Text("a"), ValueError("secret path")]))
    chunks = await collect(Generation(lender), ask())
    assert isinstance(chunks[-1], Failed)
    assert chunks[-1].error["status"] == 500
    assert "secret" not in str(chunks[-1].error)
    assert "secret path" in caplog.text
    assert lender.out == 0


async def test_an_engine_that_just_ends_is_a_failure() -> None:
    with pytest.raises(EngineError):
        await reply(StandIn([Text("a")]))


async def test_closing_at_any_moment_ends_the_engine_and_gives_the_model_back() -> None:
    rng = random.Random(7)
    for number in range(120):
        chunks: list[Any] = []
        for n in range(20):
            chunks += [Text(f"{n} "), rng.choice([0, 0, 0.001])]
        engine = StandIn([*chunks, Done("stop")])
        lender = Lender(engine, progress=(Progress("loading", 1, 2),), wait=rng.choice([0, 0.002]))
        stream = Generation(lender).stream(ask(stop=("zzz",)))
        if number % 2:
            await _close_after(stream, rng.randint(0, 25))
        else:
            await _cancel_after(stream, rng.random() * 0.03)
        assert (engine.running, lender.out) == (0, 0)


async def _close_after(stream: AsyncGenerator[Chunk, None], chunks: int) -> None:
    async for _ in stream:
        chunks -= 1
        if chunks < 0:
            break
    await stream.aclose()


async def _cancel_after(stream: AsyncGenerator[Chunk, None], seconds: float) -> None:
    async def read() -> None:
        try:
            async for _ in stream:
                await asyncio.sleep(0)
        finally:
            await stream.aclose()

    task = asyncio.ensure_future(read())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_time_to_the_first_token_holds_the_wait_for_the_model() -> None:
    lender = Lender(StandIn([0.02, Text("a"), Done("stop", Stats(queued_ms=5))]), wait=0.05)
    stats = (await Generation(lender).run(ask())).done.stats
    assert 50 <= stats.queued_ms - 5 < stats.first_token_ms
    assert stats.first_token_ms >= 70


async def test_a_seed_is_named_also_after_a_stop_string_and_a_random_one_is_the_engines() -> None:
    engine = StandIn([Text("a#")])
    assert (await reply(engine, stop=("#",), params={"seed": 7})).done.stats.seed == 7
    assert (await reply(engine, stop=("#",), params={"seed": -1})).done.stats.seed is None
    assert engine.requests[1].params["seed"] == -1
    assert (await reply(StandIn([Done("stop", Stats(seed=9))]))).done.stats.seed == 9


async def test_many_replies_at_once_do_not_mix() -> None:
    async def one(number: int) -> bool:
        engine = StandIn([Text(f"{number}-{n} ") for n in range(50)] + [Done("stop")])
        text = (await Generation(Lender(engine)).run(ask())).text
        return text == "".join(f"{number}-{n} " for n in range(50))

    assert all(await asyncio.gather(*(one(number) for number in range(50))))


async def test_reasoning_and_text_arrive_in_order_as_they_come() -> None:
    engine = StandIn([Text("<think>a"), Text("b</think>c"), Text("d"), Done("stop")])
    chunks = await collect(Generation(Lender(engine)), ask())
    assert [(type(c), c.text) for c in chunks if isinstance(c, (Text, Reasoning))] == [
        (Reasoning, "a"), (Reasoning, "b"), (Text, "c"), (Text, "d"),
    ]  # fmt: skip


async def test_token_ids_the_engine_cannot_read_are_the_callers_fault_but_a_crash_is_not() -> None:
    class Strict(StandIn):
        error = EngineError("Invalid token")

        async def detokenize(self, tokens: Sequence[int]) -> str:
            raise self.error

    with pytest.raises(BadParameter) as caught:
        await reply(Strict(), prompt=(10**6,), echo=True)
    assert (caught.value.param, caught.value.status) == ("prompt", 400)
    Strict.error = EngineCrashed("It is gone.")
    with pytest.raises(EngineCrashed):
        await reply(Strict(), prompt=(1,), echo=True)

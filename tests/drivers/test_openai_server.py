"""The driver for servers of OpenAI's protocol, with servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modules.errors import EnginehouseError, Unsupported
from modules.types import (
    Done,
    Failed,
    GenerationRequest,
    Message,
    Notice,
    Progress,
    Reasoning,
    Text,
)  # fmt: skip
from tests.drivers.openai_making import (
    DONE,
    END,
    GOOD,
    STREAM,
    USAGE,
    Asked,
    chunk,
    driver,
    event,
    faking,
    giving,
    piece,
    plain,
    saying,
)  # fmt: skip
from tests.engine.asking import embed, rerank
from tests.engine.making import ask, collect, done_of, failed_of, text_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def chat(text: str = "Hi", **more: Any) -> GenerationRequest:
    return GenerationRequest(id="test", messages=(Message("user", text),), **more)


async def replied(answer: Any, request: GenerationRequest | None = None, **more: Any) -> list[Any]:
    async with faking(answer) as fake:
        engine = driver(fake.url, **more)
        try:
            return await collect(engine, request or chat())
        finally:
            await engine.close()


async def test_a_chat_is_streamed_with_its_counts_and_the_key_goes_along() -> None:
    async with faking(GOOD) as fake:
        engine = driver(fake.url, headers={"X-Project": "blue"})
        chunks = await collect(engine, chat(params={"max_tokens": 9, "seed": 4}))
        assert text_of(chunks) == "Hello"
        stats = done_of(chunks).stats
        assert (stats.prompt_tokens, stats.completion_tokens, stats.seed, stats.context_limit) == (5, 2, 4, 1000)
        asked = fake.asked[0]
        assert asked.path == "/v1/chat/completions"
        assert asked.headers["authorization"] == "Bearer secret-key"
        assert asked.headers["x-project"] == "blue"
        assert asked.body["messages"] == [{"role": "user", "content": "Hi"}]
        assert (asked.body["model"], asked.body["stream"], asked.body["max_tokens"]) == ("m", True, 9)
        await engine.close()


async def test_a_connection_is_used_again() -> None:
    async with faking(GOOD) as fake:
        engine = driver(fake.url)
        for _ in range(3):
            done_of(await collect(engine, chat()))
        assert fake.connections == 1
        await engine.close()


async def test_thinking_comes_as_reasoning_under_either_name() -> None:
    def thought(name: str, text: str) -> bytes:
        return event({"choices": [{"delta": {name: text, "content": None}}]})

    answer = saying(thought("reasoning_content", "hm"), thought("reasoning", ", so"), piece("Yes", "stop"), DONE)
    chunks = await replied(answer)
    assert "".join(one.text for one in chunks if isinstance(one, Reasoning)) == "hm, so"
    assert text_of(chunks) == "Yes"


async def test_content_in_parts_is_read_and_its_thinking_is_told_apart() -> None:
    def parts(*content: object) -> bytes:
        return event({"choices": [{"delta": {"content": list(content)}}]})

    chunks = await replied(saying(
        parts({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}),
        parts({"type": "thinking", "thinking": "!"}, {"type": "text", "text": "Ye"}),
        piece("s", "stop"), DONE))  # fmt: skip
    assert "".join(one.text for one in chunks if isinstance(one, Reasoning)) == "hm!"
    assert text_of(chunks) == "Yes"
    done_of(chunks)


@pytest.mark.parametrize(("reason", "wanted"), [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls")])
async def test_the_end_is_told_in_our_words(reason: str, wanted: str) -> None:
    assert done_of(await replied(saying(piece("x", reason), DONE))).reason == wanted


async def test_a_filter_of_the_server_is_said() -> None:
    chunks = await replied(saying(piece("x"), piece("", "content_filter"), DONE))
    assert "content_filter" in [one.code for one in chunks if isinstance(one, Notice)]
    done_of(chunks)


async def test_a_server_without_counts_is_counted_and_that_is_said() -> None:
    chunks = await replied(saying(piece("a"), piece("b"), piece("", "stop"), DONE))
    assert done_of(chunks).stats.completion_tokens == 2
    assert "usage_missing" in [one.code for one in chunks if isinstance(one, Notice)]


async def test_probabilities_in_both_shapes() -> None:
    near = [{"token": "a", "logprob": -0.1, "bytes": [97]}, {"token": "b", "logprob": -2.0}]
    mark = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": near}]}
    new = event({"choices": [{"delta": {"content": "a"}, "logprobs": mark, "finish_reason": "stop"}]})
    old = event({"choices": [{"text": "a", "finish_reason": "stop", "logprobs": {
        "tokens": ["a"], "token_logprobs": [-0.1], "top_logprobs": [{"b": -2.0, "a": -0.1}]}}]})  # fmt: skip
    for request, one in ((chat(logprobs=2), new), (ask("x", logprobs=2), old)):
        chunks = await replied(saying(one, DONE), request)
        (entry,) = next(piece for piece in chunks if isinstance(piece, Text)).logprobs
        assert (entry.chosen.token, entry.chosen.logprob, entry.chosen.bytes) == ("a", -0.1, (97,))
        assert [(top.token, top.logprob) for top in entry.top] == [("a", -0.1), ("b", -2.0)]


@pytest.mark.parametrize("cut", range(1, 60, 7))
async def test_events_split_anywhere_and_with_any_line_ends_are_read(cut: int) -> None:
    whole = b": hello\r\n\r\nevent: message\r\n" + piece("Hé").replace(b"\n", b"\r\n") + piece("llo", "stop") + DONE

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for start in range(0, len(whole), cut):
            writer.write(chunk(whole[start : start + cut]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(END)

    chunks = await replied(answer)
    assert text_of(chunks) == "Héllo"
    done_of(chunks)


async def test_a_stream_that_breaks_off_keeps_its_text_and_fails() -> None:
    chunks = await replied(saying(piece("half of"), end=b""))
    assert text_of(chunks) == "half of"
    assert failed_of(chunks).error["code"] == "engine_unreachable"


async def test_a_stream_that_ends_without_saying_so_has_failed_too() -> None:
    chunks = await replied(saying(piece("half of")))
    assert text_of(chunks) == "half of"
    assert "broke the connection off" in failed_of(chunks).error["message"]


async def test_a_reply_that_was_complete_is_not_lost_with_its_counts() -> None:
    assert done_of(await replied(saying(piece("all", "stop"), end=b""))).reason == "stop"


async def test_a_server_that_falls_silent_is_hung_up_on() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(piece("half")))
        await asyncio.sleep(30)

    chunks = await replied(answer, timeout=0.3)
    assert text_of(chunks) == "half"
    error = failed_of(chunks).error
    assert error["code"] == "engine_timeout"
    assert "timeout" in error["hint"]


async def test_a_server_that_never_answers_is_hung_up_on() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    assert failed_of(await replied(answer, timeout=0.3)).error["code"] == "engine_timeout"


async def test_a_reader_that_takes_its_time_is_no_silence_of_the_server() -> None:
    go_on = asyncio.Event()

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(piece("a")))
        await go_on.wait()
        writer.write(chunk(piece("b", "stop")) + chunk(DONE) + END)

    async with faking(answer) as fake:
        engine = driver(fake.url, timeout=2.0)
        chunks = []
        async for one in engine.generate(chat()):
            chunks.append(one)
            if not go_on.is_set():
                await asyncio.sleep(2.6)
                go_on.set()
        assert text_of(chunks) == "ab"
        done_of(chunks)
        await engine.close()


async def test_comments_are_signs_of_life() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        for _ in range(6):
            await asyncio.sleep(0.15)
            writer.write(chunk(b": waiting\n\n"))
        writer.write(chunk(piece("x", "stop")) + chunk(DONE) + END)

    done_of(await replied(answer, timeout=0.5))


@pytest.mark.parametrize("garbage", [b"data: {not json}\n\n", b"data: [1]\n\n", b"data: {\"choices\": 7}\n\n",
                                     b"data: {\"choices\": [{\"delta\": 3}]}\n\n"])  # fmt: skip
async def test_garbage_in_a_stream_keeps_the_text_and_fails(garbage: bytes) -> None:
    chunks = await replied(saying(piece("good"), garbage))
    assert text_of(chunks) == "good"
    assert failed_of(chunks).error["code"] == "engine_unreadable"


async def test_a_page_instead_of_a_stream_is_named() -> None:
    error = failed_of(await replied(giving(plain(b"<html><title>Login</title></html>", 200, "text/html")))).error
    assert error["code"] == "engine_unreadable"
    assert "/v1" in error["hint"]


async def test_an_error_in_the_middle_of_a_stream_is_told() -> None:
    chunks = await replied(saying(piece("a"), event({"error": {"message": "the engine died", "code": 500}})))
    assert text_of(chunks) == "a"
    assert "the engine died" in failed_of(chunks).error["message"]


async def test_hanging_up_reaches_the_server_at_once() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(piece("a")))
        await asyncio.sleep(30)

    async with faking(answer) as fake:
        engine = driver(fake.url)
        stream = engine.generate(chat())
        assert isinstance(await anext(stream), Text)
        fake_task = asyncio.create_task(until(lambda: not engine._http.busy))
        await stream.aclose()
        await fake_task
        await engine.close()


async def test_more_requests_than_the_server_has_places_wait_and_say_so() -> None:
    gate = asyncio.Event()

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(STREAM + chunk(piece("a", "stop")) + chunk(DONE) + END)

    async with faking(answer) as fake:
        engine = driver(fake.url, slots=1)
        first = asyncio.create_task(collect(engine, chat("1")))
        await until(lambda: len(fake.asked) == 1)
        second = asyncio.create_task(collect(engine, chat("2")))
        await asyncio.sleep(0.05)
        assert len(fake.asked) == 1
        gate.set()
        done_of(await first)
        chunks = await second
        assert isinstance(chunks[0], Progress)
        done_of(chunks)
        await engine.close()


async def test_what_a_server_does_not_know_is_left_out_and_said_each_time() -> None:
    """OpenAI's newer models refuse what older ones take."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for name, code in (("max_tokens", "unsupported_parameter"), ("temperature", "unsupported_value")):
            if name in asked.body:
                said = f"Unsupported: '{name}' is not supported with this model."
                writer.write(plain({"error": {"message": said, "param": name, "code": code}}, 400))
                return
        await GOOD(asked, writer)

    async with faking(answer) as fake:
        engine = driver(fake.url)
        for sent in (3, 1):
            before = len(fake.asked)
            chunks = await collect(engine, chat(params={"max_tokens": 7, "temperature": 0.3}))
            done_of(chunks)
            assert [one.param for one in chunks if isinstance(one, Notice)] == ["temperature"]
            assert len(fake.asked) - before == sent, "learned once"
            assert fake.asked[-1].body["max_completion_tokens"] == 7
        await engine.close()


async def test_variables_for_the_template_are_sent_where_they_are_known_and_said_where_not() -> None:
    request = chat(template_vars={"enable_thinking": False})
    chunks = await replied(GOOD, request)
    assert "template_vars_ignored" in [one.code for one in chunks if isinstance(one, Notice)]
    async with faking(GOOD) as fake:
        engine = driver(fake.url, "vllm")
        assert not [one for one in await collect(engine, request) if isinstance(one, Notice)]
        assert fake.asked[0].body["chat_template_kwargs"] == {"enable_thinking": False}
        await engine.close()


async def test_a_raw_prompt_without_a_limit_gets_the_room_there_is() -> None:
    text = saying(event({"choices": [{"text": "x", "finish_reason": "stop"}]}), DONE)
    async with faking(text) as fake:
        engine = driver(fake.url)
        done_of(await collect(engine, ask("word " * 10)))
        assert fake.asked[0].path == "/v1/completions"
        assert fake.asked[0].body["max_tokens"] == 950, "the default of these servers is 16"
        await engine.close()


async def test_embeddings_come_in_order_and_of_length_one() -> None:
    rows = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]
    async with faking(giving(plain({"data": rows, "usage": {"prompt_tokens": 6}}))) as fake:
        engine = driver(fake.url)
        found = await embed(engine, ["a", "b"])
        assert found.vectors == ((0.6, 0.8), (0.0, 1.0))
        assert found.tokens == 6
        assert fake.asked[0].body["input"] == ["a", "b"]
        await engine.close()


@pytest.mark.parametrize("body", [{"data": []}, {"data": [{"index": 0, "embedding": []}]}, {}, [1]])
async def test_embeddings_that_are_none_are_an_error(body: Any) -> None:
    async with faking(giving(plain(body))) as fake:
        engine = driver(fake.url)
        with pytest.raises(EnginehouseError):
            await embed(engine, ["a"])
        await engine.close()


async def test_what_the_protocol_does_not_have_is_refused() -> None:
    engine = driver("http://127.0.0.1:1")
    with pytest.raises(Unsupported):
        await rerank(engine, "a", ["b"])
    for request in (
        chat(grammar="root ::= x"),
        ask("x", json_schema={}),
        chat(lora={"a": 1.0}),
        ask("x", images=("i",)),
    ):
        chunks = [one async for one in engine.generate(request)]
        assert isinstance(chunks[-1], Failed)
        assert chunks[-1].error["status"] == 422
    await engine.close()


async def test_what_cannot_be_written_as_json_is_the_callers_fault() -> None:
    chunks = await replied(GOOD, chat(json_schema={"const": 2**70}))
    assert failed_of(chunks).error["status"] == 400


async def test_usage_after_the_end_is_waited_for_but_not_for_long() -> None:
    assert done_of(await replied(saying(piece("a", "stop"), event(USAGE), DONE))).stats.prompt_tokens == 5
    assert isinstance((await replied(saying(piece("a", "stop"))))[-1], Done)

"""The OpenAI API as its own Python client sees it: the shape of everything, on the echo engine."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.conftest import LiveServer
from tests.extensions.asking import user


def test_a_chat_reply_has_text_reason_and_counts(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="echo", messages=user("hello 👍 world"))
    choice = reply.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", "hello 👍 world")
    assert choice.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 6
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 6
    assert reply.model == "echo"
    assert reply.object == "chat.completion"
    extra = reply.model_extra["enginehouse"]  # type: ignore[index]
    assert extra["context"]["limit"] == 8192
    assert extra["stats"]["first_token_ms"] > 0
    assert extra["notices"] == []


def test_a_streamed_chat_is_the_same_text_and_ends_with_usage(client: openai.OpenAI) -> None:
    text = "hello 👍 world " * 20
    events = list(
        client.chat.completions.create(
            model="echo", messages=user(text), stream=True, stream_options={"include_usage": True}
        )
    )
    assert events[0].choices[0].delta.role == "assistant"
    assert "".join(e.choices[0].delta.content or "" for e in events if e.choices) == text.strip() + " "
    assert [e.choices[0].finish_reason for e in events if e.choices][-1] == "stop"
    assert events[-1].choices == []
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens > 20
    assert events[-1].model_extra["enginehouse"]["stats"]["completion_tokens"] > 20  # type: ignore[index]
    assert all(e.usage is None for e in events[:-1])
    assert len({e.id for e in events}) == 1


def test_without_include_usage_the_last_event_is_the_finish(client: openai.OpenAI) -> None:
    events = list(client.chat.completions.create(model="echo", messages=user("hi"), stream=True))
    assert events[-1].choices[0].finish_reason == "stop"
    assert "enginehouse" in (events[-1].model_extra or {})
    assert all(e.usage is None for e in events)


def test_the_streaming_helper_of_the_client_understands_the_events(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="echo", messages=user("one two")) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "one two"


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_reply_and_is_not_in_it(client: openai.OpenAI, stream: bool) -> None:
    reply: Any = client.chat.completions.create(
        model="echo", messages=user("one two three four"), stop=["xyz", "o th"], stream=stream
    )
    if stream:
        events = list(reply)
        text = "".join(event.choices[0].delta.content or "" for event in events)
        reason, extra = events[-1].choices[0].finish_reason, events[-1].model_extra["enginehouse"]
    else:
        text, reason = reply.choices[0].message.content, reply.choices[0].finish_reason
        extra = reply.model_extra["enginehouse"]
    assert (text, reason, extra["stop"]) == ("one tw", "stop", "o th")
    assert extra["stats"]["prompt_tokens"] > 0


def test_a_length_limit_is_told_as_length(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="echo", messages=user("one two three"), max_completion_tokens=2)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 2


def test_chat_logprobs_name_each_token_and_its_bytes(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="echo", messages=user("hey 👍"), logprobs=True, top_logprobs=3)
    assert reply.choices[0].logprobs is not None
    content = reply.choices[0].logprobs.content or []
    assert b"".join(bytes(token.bytes or []) for token in content).decode() == "hey 👍"
    assert all(len(token.top_logprobs) == 3 for token in content)
    assert all(token.logprob <= 0 for token in content)
    streamed = [
        token
        for event in client.chat.completions.create(
            model="echo", messages=user("hey 👍"), logprobs=True, top_logprobs=3, stream=True
        )
        if event.choices[0].logprobs
        for token in event.choices[0].logprobs.content or []
    ]
    assert [token.token for token in streamed] == [token.token for token in content]


@pytest.mark.parametrize("stream", [False, True])
def test_completion_logprobs_have_offsets_into_the_text(client: openai.OpenAI, stream: bool) -> None:
    text = "alpha 👍 beta gamma"
    made: Any = client.completions.create(model="echo", prompt=text, logprobs=2, stream=stream)
    parts = [choice for event in (made if stream else [made]) for choice in event.choices]
    whole = "".join(part.text for part in parts)
    pairs = [
        pair
        for part in parts
        if part.logprobs
        for pair in zip(part.logprobs.tokens, part.logprobs.text_offset, strict=True)
    ]
    assert whole == text
    for token, offset in pairs:
        if "\ufffd" not in token:
            assert whole.startswith(token, offset), (token, offset)
    assert len(pairs) == 8


def test_several_prompts_and_choices_come_in_order(client: openai.OpenAI) -> None:
    made = client.completions.create(model="echo", prompt=["one", "two two"], n=2)
    assert [(c.index, c.text) for c in made.choices] == [(0, "one"), (1, "one"), (2, "two two"), (3, "two two")]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (1 + 2, 2 * (1 + 2))


def test_several_choices_stream_side_by_side(client: openai.OpenAI) -> None:
    texts = {0: "", 1: "", 2: ""}
    ends: list[str] = []
    for event in client.chat.completions.create(model="echo", messages=user("a b c d e f"), n=3, stream=True):
        for choice in event.choices:
            texts[choice.index] += choice.delta.content or ""
            ends += [choice.finish_reason] if choice.finish_reason else []
    assert texts == dict.fromkeys(range(3), "a b c d e f")
    assert ends == ["stop"] * 3


def test_a_prompt_may_be_token_ids(client: openai.OpenAI, shared_server: LiveServer) -> None:
    ids = [len(part) << 24 | int.from_bytes(part, "big") for part in (b"hel", b"lo")]
    assert client.completions.create(model="echo", prompt=ids).choices[0].text == "hello"
    assert client.completions.create(model="echo", prompt=[ids, ids]).choices[1].text == "hello"


def test_echo_gives_the_prompt_back(client: openai.OpenAI) -> None:
    assert client.completions.create(model="echo", prompt="ab", echo=True).choices[0].text == "abab"


def test_parts_developer_and_system_messages_are_understood(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "be kind"},
        {"role": "system", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]},
        {"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
    ]
    assert client.chat.completions.create(model="echo", messages=messages).choices[0].message.content == "hello"


def test_a_reply_can_be_continued(client: openai.OpenAI) -> None:
    messages: list[Any] = [*user("one two three"), {"role": "assistant", "content": "one t"}]
    reply = client.chat.completions.create(model="echo", messages=messages, extra_body={"continue_final_message": True})
    assert reply.choices[0].message.content == "wo three"


def test_samplers_by_any_of_their_names_and_what_is_ignored_is_said(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="echo", messages=user("hi"), temperature=0.3, user="me", metadata={"a": "b"}, store=True,
        extra_body={"top_k": 5, "repeat_penalty": 1.1, "temprature": 1, "min_p": None},
    )  # fmt: skip
    notices = reply.model_extra["enginehouse"]["notices"]  # type: ignore[index]
    assert [(n["code"], n["param"]) for n in notices] == [
        ("without_effect", "store"), ("unknown_field", "temprature"), ("sampler_ignored", "temperature"),
        ("sampler_ignored", "top_k"), ("sampler_ignored", "repetition_penalty"),
    ]  # fmt: skip
    assert "temperature" in notices[1]["message"]


def test_a_preset_counts_where_the_request_names_nothing(client: openai.OpenAI, shared_server: LiveServer) -> None:
    name = shared_server.call("GET", "/api/presets")["presets"][0]["name"]
    client.chat.completions.create(model="echo", messages=user("hi"), extra_body={"preset": name})
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="echo", messages=user("hi"), extra_body={"preset": "no such preset"})

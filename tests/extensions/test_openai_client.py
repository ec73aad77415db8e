"""The OpenAI API as its own Python client sees it: a real server process, the echo engine, and a real model."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import ROOT, LiveServer, Start

STARTER = ROOT / "user_data" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOL = STARTER.stem


def client_of(server: LiveServer, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url + "/v1", api_key="none", max_retries=0, timeout=200, **more)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def wait_until(true: Any, seconds: float = 30.0) -> float:
    """Wait for it; gives back how long it took. Fails the test when it does not come true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not come true in time"
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def client(shared_server: LiveServer) -> Iterator[openai.OpenAI]:
    with client_of(shared_server) as made:
        yield made


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, openai.OpenAI]]:
    """A server of its own with the starter model in its folder, not loaded yet."""
    from tests.conftest import start_server

    if not STARTER.exists():
        pytest.skip("the starter model is not installed; python3 start.py fetches it")
    user_data = tmp_path_factory.mktemp("real")
    (user_data / "models").mkdir()
    try:
        (user_data / "models" / STARTER.name).symlink_to(STARTER)
    except OSError:
        shutil.copy(STARTER, user_data / "models")
    live = start_server(user_data)
    with client_of(live) as made:
        yield live, made
    live.stop()


# ── the echo engine: the shape of everything ────────────────────────────────────────────────────────


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


BAD: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
     "messages.0.content.0"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 7}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"stream": "yes"}, "stream"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"stop": 5}, "stop"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"continue_final_message": True}, "messages"),
    ({"context_overflow": "explode"}, "context_overflow"),
    ({"stream_options": {"include_usage": 1}, "stream": True}, "stream_options.include_usage"),
    ({"seed": 1.5}, "seed"),
    ({"model": 5}, "model"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "param"), BAD, ids=lambda value: str(value)[:50])
def test_a_wrong_field_is_named_in_openais_shape(
    shared_server: LiveServer, more: dict[str, Any], param: str | None
) -> None:
    answer = shared_server.http.post("/v1/chat/completions", json={"model": "echo", "messages": user("hi"), **more})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_bodies_that_are_no_json_objects_are_refused(shared_server: LiveServer) -> None:
    for body in (b"{", b"[]", b'"\\ud800"', b"", b"null", b"[" * 5000):
        answer = shared_server.http.post("/v1/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


def test_what_is_not_offered_for_completions_is_refused_by_name(client: openai.OpenAI) -> None:
    for more in ({"suffix": "x"}, {"best_of": 3}, {"prompt": ""}, {"prompt": []}, {"prompt": [[]]}, {"prompt": [1.5]}):
        body = {"model": "echo", "prompt": "x", **more}
        with pytest.raises(openai.BadRequestError):
            client.completions.create(**body)  # type: ignore[call-overload]


def test_a_loader_that_cannot_is_an_honest_422(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model="echo", messages=user("x"), response_format={"type": "json_object"})
    assert "json" in str(caught.value)


def test_a_prompt_too_long_is_the_error_clients_look_for_also_when_streaming(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="echo", messages=user("word " * 9000), stream=stream)
        assert caught.value.code == "context_length_exceeded"


def test_the_oldest_messages_are_dropped_only_when_asked_for(client: openai.OpenAI) -> None:
    long: list[Any] = [*user("word " * 5000), {"role": "assistant", "content": "ok"}, *user("word " * 4000 + "end")]
    reply = client.chat.completions.create(
        model="echo", messages=long, max_tokens=3, extra_body={"context_overflow": "drop_oldest"}
    )
    extra = reply.model_extra["enginehouse"]  # type: ignore[index]
    assert extra["context"]["dropped_messages"] == 2
    assert [notice["code"] for notice in extra["notices"]] == ["context_dropped"]


def test_an_unknown_model_is_a_404_that_names_what_there_is(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="nope", messages=user("x"), stream=stream)
        assert caught.value.code == "model_not_found"
        assert "nope" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_no_name_means_the_model_that_is_loaded(client: openai.OpenAI) -> None:
    assert client.chat.completions.create(model="", messages=user("x")).model == "echo"
    assert client.chat.completions.create(model="default", messages=user("x")).model == "echo"


def test_the_loaded_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").id == "echo"


# ── servers of their own ────────────────────────────────────────────────────────────────────────────


def busy(server: LiveServer) -> int:
    return int(server.call("GET", "/api/state")["model"]["running"])


def quickest(hang_up: Callable[[], float], aim: float) -> float:
    """The shortest of up to three tries: other programs can make it slower, never quicker."""
    took = [hang_up()]
    while took[-1] >= aim and len(took) < 3:
        took.append(hang_up())
    return min(took)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_the_engine_at_once(server: Start, stream: bool) -> None:
    live = server()
    live.load_echo(tokens=100_000, speed=50.0, context=200_000)
    body = json.dumps({"model": "echo", "messages": user("x"), "stream": stream, "n": 2}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    port = int(live.base_url.rpartition(":")[2])

    def hang_up() -> float:
        with socket.create_connection(("localhost", port), 30) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            if stream:
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            wait_until(lambda: busy(live) == 2)
        return wait_until(lambda: busy(live) == 0)

    assert quickest(hang_up, 1) < 1


def test_the_clients_own_cancel_frees_the_engine(server: Start) -> None:
    live = server()
    live.load_echo(tokens=100_000, speed=50.0, context=200_000)
    with client_of(live) as client:

        def cancel() -> float:
            stream = client.chat.completions.create(model="echo", messages=user("x"), stream=True)
            for _, _event in zip(range(3), stream, strict=False):
                pass
            stream.close()
            return wait_until(lambda: busy(live) == 0)

        assert quickest(cancel, 1) < 1
        assert client.chat.completions.create(model="echo", messages=user("x"), max_tokens=2).choices[0].message.content


def test_an_engine_that_dies_halfway_is_an_error_event_and_the_next_reply_works(server: Start) -> None:
    live = server()
    live.load_echo(crash_at=5, tokens=50)
    with client_of(live) as client:
        texts: list[str] = []
        stream = client.chat.completions.create(model="echo", messages=user("x"), stream=True)
        with pytest.raises(openai.APIError) as caught:
            texts.extend(event.choices[0].delta.content or "" for event in stream)
        assert caught.value.code == "engine_crashed"
        live.load_echo(error_at=0, tokens=50)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="echo", messages=user("x"))
        live.load_echo()
        assert client.chat.completions.create(model="echo", messages=user("x")).choices[0].message.content == "x"


def test_a_key_is_asked_for_and_a_wrong_one_is_an_authentication_error(server: Start) -> None:
    live = server("--api-key", "s3cret-key-of-the-test", key="s3cret-key-of-the-test")
    live.load_echo()
    with pytest.raises(openai.AuthenticationError):
        client_of(live).models.list()
    right = openai.OpenAI(base_url=live.base_url + "/v1", api_key="s3cret-key-of-the-test", max_retries=0)
    with right:
        assert right.chat.completions.create(model="echo", messages=user("x")).choices[0].message.content == "x"


def test_the_options_file_can_map_names_programs_insist_on(server: Start, tmp_path: Path) -> None:
    folder = tmp_path / "user_data" / "extensions"
    folder.mkdir(parents=True)
    (folder / "openai.yaml").write_text('model_aliases: {gpt-3.5-turbo: "", gpt-4: echo}\n', encoding="utf-8")
    live = server()
    live.load_echo()
    with client_of(live) as client:
        for name in ("gpt-3.5-turbo", "gpt-4"):
            assert client.chat.completions.create(model=name, messages=user("x")).model == "echo"


def test_nothing_to_answer_with_is_a_503(server: Start) -> None:
    live = server()
    with client_of(live) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="", messages=user("x"))
    assert caught.value.status_code == 503


def test_a_slow_load_keeps_the_line_alive_and_then_answers(server: Start) -> None:
    live = server()
    live.call("POST", "/api/models/load", {"name": "echo", "settings": {"load_time": 10.0}})
    body = {"model": "echo", "messages": user("hello"), "stream": True}
    with live.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert any(line.startswith(": loading") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert any("hello" in line for line in lines)


# ── a real model ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.real_model
def test_naming_a_model_loads_it(real: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = real
    assert [model.id for model in client.models.list()] == [SMOL]
    reply = client.chat.completions.create(model=SMOL, messages=user("Say hello."), max_tokens=8, temperature=0)
    assert reply.model == SMOL
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 8


@pytest.mark.real_model
def test_the_same_seed_gives_the_same_reply_and_choices_differ(real: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = real

    def ask(seed: int, n: int = 1) -> list[str]:
        reply = client.chat.completions.create(
            model=SMOL, messages=user("Tell me a story."), max_tokens=8, temperature=1.5, seed=seed, n=n
        )
        return [choice.message.content or "" for choice in reply.choices]

    once = ask(5)
    assert ask(5) == once
    first, second = ask(5, n=2)
    assert first != second


@pytest.mark.real_model
def test_a_real_model_streams_stops_and_counts(real: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = real
    events = list(
        client.chat.completions.create(
            model=SMOL, messages=user("Count: one, two, three"), stop=[" ", "\n"], max_tokens=30, stream=True,
            temperature=0, stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert " " not in text
    assert "\n" not in text
    usage = events[-1].usage
    assert usage is not None
    assert 0 < usage.completion_tokens < 30
    whole = client.chat.completions.create(model=SMOL, messages=user("Count: one, two, three"), max_tokens=1)
    assert whole.usage is not None
    assert usage.prompt_tokens == whole.usage.prompt_tokens


@pytest.mark.real_model
def test_real_logprobs_spell_the_text_and_greedy_takes_the_best(real: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = real
    made = client.completions.create(
        model=SMOL, prompt="The capital of France is", max_tokens=6, logprobs=3, temperature=0
    )
    choice = made.choices[0]
    marks = choice.logprobs
    assert marks is not None
    assert marks.tokens is not None
    assert "".join(marks.tokens) == choice.text
    for token, offset, top in zip(marks.tokens, marks.text_offset or [], marks.top_logprobs or [], strict=True):
        assert choice.text.startswith(token, offset)
        assert max(top, key=lambda name: top[name]) == token


@pytest.mark.real_model
def test_a_json_schema_is_followed(real: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = real
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    reply = client.chat.completions.create(
        model=SMOL, messages=user("Give me a number as JSON."), max_tokens=40, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
    )  # fmt: skip
    assert isinstance(json.loads(reply.choices[0].message.content or "")["n"], int)


@pytest.mark.real_model
def test_a_schema_only_the_engine_stumbles_over_is_said_in_the_answer(real: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = real
    reply = client.chat.completions.create(
        model=SMOL, messages=user("hi"), max_tokens=40, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": "#"}}},
    )  # fmt: skip
    assert reply.choices[0].finish_reason == "stop"
    notices = reply.model_extra["enginehouse"]["notices"]  # type: ignore[index]
    assert "schema_not_enforced" in [notice["code"] for notice in notices]


@pytest.mark.real_model
@pytest.mark.parametrize("echo", [False, True])
def test_a_token_outside_the_vocabulary_is_the_callers_fault(
    real: tuple[LiveServer, openai.OpenAI], echo: bool
) -> None:
    _, client = real
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=SMOL, prompt=[1, 10**6], max_tokens=2, echo=echo)


@pytest.mark.real_model
def test_the_second_turn_of_a_chat_comes_from_the_cache(real: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = real
    messages: list[Any] = user("Remember: " + "the sky is blue and the grass is green. " * 10)
    first = client.chat.completions.create(model=SMOL, messages=messages, max_tokens=4, temperature=0)
    messages += [{"role": "assistant", "content": first.choices[0].message.content}, *user("And now?")]
    second = client.chat.completions.create(model=SMOL, messages=messages, max_tokens=4, temperature=0)
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) > 80


@pytest.mark.real_model
def test_hanging_up_on_a_real_model_frees_it(real: tuple[LiveServer, openai.OpenAI]) -> None:
    live, client = real

    def hang_up() -> float:
        stream = client.chat.completions.create(
            model=SMOL, messages=user("Write a very long story."), stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        stream.close()
        return wait_until(lambda: busy(live) == 0)

    assert quickest(hang_up, 2) < 2

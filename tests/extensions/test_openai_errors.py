"""What the OpenAI API refuses, as its own Python client sees it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.conftest import LiveServer
from tests.extensions.asking import user

BAD: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
     "messages.0.content.0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages.0"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [{"id": "1"}]}]}, "messages.0.tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "messages.0.tool_calls.0"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 7}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"stream": "perhaps"}, "stream"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": 5}, "stop"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools.0"),
    ({"tools": "weather"}, "tools"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"continue_final_message": True}, "messages"),
    ({"context_overflow": "explode"}, "context_overflow"),
    ({"stream_options": {"include_usage": 2}, "stream": True}, "stream_options.include_usage"),
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

"""The OpenAI API with a real model."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from tests.conftest import LiveServer
from tests.extensions.asking import SMOL, busy, quickest, user, wait_until


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
@pytest.mark.parametrize(
    "body",
    [
        {"grammar": "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000},
        {"grammar": '\0root ::= "a"'},
        {"grammar": "root ::= " + '("a"?) ' * 3000 + '"b"'},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": "#"}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"minItems": 1e9}}}},
    ],
    ids=["nested brackets", "NUL", "3000 optional parts", "no text fits", "a count"],
)
def test_a_grammar_or_schema_that_cannot_be_enforced_is_refused(
    real: tuple[LiveServer, openai.OpenAI], body: dict[str, Any]
) -> None:
    _, client = real
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=SMOL, messages=user("hi"), max_tokens=5, extra_body=body)


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
        began = time.monotonic()
        stream.close()
        wait_until(lambda: busy(live) == 0)
        return time.monotonic() - began

    assert quickest(hang_up, 2) < 2

"""Our request in the words of servers of OpenAI's protocol."""

from __future__ import annotations

from typing import Any

import pytest

from loaders.served.server_kinds import FLAVOURS, samplers_of
from modules.drivers.openai_request import ask_for, without
from modules.errors import BadParameter, BadRequest, Unsupported
from modules.messages.parts import FunctionCall, ImagePart, TextPart
from modules.sampling.params import BY_NAME
from modules.types import GenerationRequest, Message
from tests.pictures import looking

OPENAI, VLLM, SGLANG, TRT = (FLAVOURS[name] for name in ("openai", "vllm", "sglang", "tensorrt-llm"))
PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQ"


def chat(*messages: Message, **more: Any) -> GenerationRequest:
    return GenerationRequest(id="t", messages=messages or (Message("user", "Hi"),), **more)


def raw(prompt: Any = "Hi", **more: Any) -> GenerationRequest:
    return GenerationRequest(id="t", prompt=prompt, **more)


def test_an_unknown_server_is_sent_only_what_was_asked_for() -> None:
    body = ask_for(chat(), OPENAI, "m").body
    assert set(body) == {"model", "stream", "stream_options", "seed", "temperature", "messages"}
    body = ask_for(chat(params={"top_p": 0.5, "presence_penalty": 1.0, "logit_bias": {"5": -100.0}}), OPENAI, "m").body
    assert (body["top_p"], body["presence_penalty"], body["logit_bias"]) == (0.5, 1.0, {"5": -100.0})


@pytest.mark.parametrize("flavour", [VLLM, SGLANG, TRT], ids=lambda flavour: flavour.name)
def test_a_known_server_is_sent_neutral_values_too(flavour: Any) -> None:
    body = ask_for(chat(), flavour, "m").body
    for name, wire in samplers_of(flavour.name).items():
        if name not in ("max_tokens", "seed", "logit_bias", "top_k"):
            assert body[wire] == BY_NAME[name].default, name
    assert body["top_k"] == flavour.top_k_off
    assert ask_for(chat(params={"top_k": 7, "ban_eos_token": True}), flavour, "m").body["ignore_eos"] is True


def test_a_drawn_seed_is_told() -> None:
    asked = ask_for(chat(), VLLM, "m")
    assert asked.seed == asked.body["seed"] >= 0
    assert ask_for(chat(params={"seed": 7}), VLLM, "m").seed == 7


def test_a_raw_prompt_is_sent_as_text_or_ids() -> None:
    assert ask_for(raw("é\ud800"), VLLM, "m").body["prompt"] == "é?"
    assert ask_for(raw((1, 2)), VLLM, "m").body["prompt"] == [1, 2]
    assert ask_for(raw(), VLLM, "m").path == "/completions"
    for empty in ("", ()):
        with pytest.raises(BadRequest):
            ask_for(raw(empty), VLLM, "m")
    with pytest.raises(BadRequest):
        ask_for(GenerationRequest(id="t", messages=()), VLLM, "m")


def test_no_limit_is_said_as_each_server_understands_it() -> None:
    assert ask_for(raw(), VLLM, "m").body["max_tokens"] is None
    assert ask_for(raw(), OPENAI, "m", 77).body["max_tokens"] == 77
    assert "max_tokens" not in ask_for(raw(), TRT, "m").body
    assert "max_tokens" not in ask_for(chat(), SGLANG, "m").body
    assert ask_for(raw(params={"max_tokens": 5}), OPENAI, "m", 77).body["max_tokens"] == 5


@pytest.mark.parametrize(
    ("flavour", "key", "value"),
    [
        (VLLM, "structured_outputs", {"grammar": "root ::= x"}),
        (SGLANG, "ebnf", "root ::= x"),
        (TRT, "response_format", {"type": "ebnf", "ebnf": "root ::= x"}),
    ],
    ids=["vllm", "sglang", "tensorrt-llm"],
)
def test_a_grammar_is_sent_in_each_servers_way(flavour: Any, key: str, value: Any) -> None:
    assert ask_for(chat(grammar="root ::= x"), flavour, "m").body[key] == value


def test_a_schema_is_a_response_format() -> None:
    schema = {"type": "object"}
    for flavour in (OPENAI, VLLM, SGLANG):
        sent = ask_for(chat(json_schema=schema), flavour, "m").body["response_format"]
        assert sent["json_schema"]["schema"] == schema
    assert ask_for(chat(json_schema=schema), TRT, "m").body["response_format"] == {"type": "json", "schema": schema}
    assert "response_format" in ask_for(raw(json_schema=schema), VLLM, "m").body
    with pytest.raises(BadParameter):
        ask_for(chat(json_schema=schema, grammar="root ::= x"), VLLM, "m")


def test_images_stand_where_they_are_among_the_parts() -> None:
    message = Message("user", (TextPart("a "), ImagePart(PNG), TextPart(" b "), ImagePart(JPEG)))
    parts = ask_for(chat(message), VLLM, "m").body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url"]
    assert parts[1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert parts[3]["image_url"]["url"].startswith("data:image/jpeg")
    parts = ask_for(chat(looking("what?", PNG)), VLLM, "m").body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]


def test_a_reply_is_continued_with_each_servers_switch() -> None:
    request = chat(Message("user", "Hi"), Message("assistant", "Hel"), continue_last=True)
    body = ask_for(request, VLLM, "m").body
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    body = ask_for(request, SGLANG, "m").body
    assert body["continue_final_message"] is True
    assert "add_generation_prompt" not in body


def test_an_adapter_is_a_model_at_vllm_and_a_name_at_sglang() -> None:
    assert ask_for(chat(lora={"red": 1.0, "blue": 0.0}), VLLM, "m").body["model"] == "red"
    assert ask_for(chat(lora={"red": 1.0}), SGLANG, "m").body["lora_path"] == "red"
    assert ask_for(chat(lora={}), TRT, "m").body["model"] == "m"
    for flavour, asked in ((VLLM, {"a": 1.0, "b": 1.0}), (VLLM, {"a": 0.5}), (TRT, {"a": 1.0})):
        with pytest.raises(Unsupported):
            ask_for(chat(lora=asked), flavour, "m")


def test_probabilities_are_asked_for_in_both_ways() -> None:
    body = ask_for(chat(logprobs=3), VLLM, "m").body
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)
    assert ask_for(raw(logprobs=0), VLLM, "m").body["logprobs"] == 1, "0 turns them off at some servers"


@pytest.mark.parametrize(
    ("said", "named", "gone"),
    [
        ("Unsupported parameter: 'max_tokens'", "max_tokens", "max_tokens"),
        ("Unrecognized request argument supplied: stream_options", "stream_options", "stream_options"),
        ("body.seed: Extra inputs are not permitted 'seed'", "", "seed"),
        ("'temperature' must be below 2", "", None),
        ("'messages' is unsupported", "messages", None),
    ],
)
def test_what_was_refused_is_left_out_if_a_reply_can_be_had_without(said: str, named: str, gone: str | None) -> None:
    body = {"messages": [], "max_tokens": 5, "seed": 1, "temperature": 3, "stream_options": {}}
    less = without(body, said, named)
    if gone is None:
        assert less is None
    else:
        assert less is not None
        assert gone not in less
        assert less.get("max_completion_tokens") == (5 if gone == "max_tokens" else None)


def test_tools_and_their_calls_and_results_are_passed_on() -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    messages = (
        Message("user", "Warm?", name="Ann"), Message("assistant", tool_calls=(FunctionCall("c1", "weather", "{}"),)),
        Message("tool", "4 C", tool_call_id="c1", name="weather"),
    )  # fmt: skip
    choice = {"type": "function", "function": {"name": "weather"}}
    body = ask_for(chat(*messages, tools=(tool,), tool_choice=choice, parallel_tool_calls=False), OPENAI, "m").body
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([tool], choice, False)
    called = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert body["messages"] == [
        {"role": "user", "content": "Warm?", "name": "Ann"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "content": "4 C", "name": "weather", "tool_call_id": "c1"},
    ]
    assert not {"tools", "tool_choice"} & ask_for(chat(Message("user", "Hi")), OPENAI, "m").body.keys()

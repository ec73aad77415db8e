"""The events of a server's reply, read without a server."""

from __future__ import annotations

import orjson

from modules.drivers.openai_reply import Reply
from modules.types import Chunk, Endpoint, Message, Notice, Text, ToolCall
from tests.engine.making import ask


def read(*deltas: dict[str, object], **last: object) -> list[Chunk]:
    """The chunks of a chat's events, one choice each; `last` goes into the final one."""
    request = ask(None, messages=(Message("user", "hi"),), logprobs=0)
    reply = Reply(request, 1, 100, Endpoint("http://127.0.0.1:1", "", "openai"))
    marks = {"content": [{"token": "x", "logprob": -0.5, "bytes": [240], "top_logprobs": []}]}
    events = [{"choices": [{"index": 0, "delta": delta, "logprobs": marks}]} for delta in deltas]
    events[-1]["choices"][0] |= last
    return [chunk for event in events for chunk in reply.read([b"data: " + orjson.dumps(event)])]


def test_probabilities_of_half_a_character_are_said_to_be_missing_once() -> None:
    chunks = read({"content": "a"}, {"content": ""}, {"content": ""}, {"content": "🎉"})
    assert [chunk.code for chunk in chunks if isinstance(chunk, Notice)] == ["logprobs_incomplete"]
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, Text)) == "a🎉"


def test_the_end_and_thinking_miss_none() -> None:
    chunks = read({"content": "a"}, {"reasoning_content": "hm"}, {"content": ""}, finish_reason="stop")
    assert not [chunk for chunk in chunks if isinstance(chunk, Notice)]


def test_tool_calls_come_in_pieces_and_miss_no_probabilities() -> None:
    chunks = read(
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        {"tool_calls": [{"id": "c2", "function": {"name": "g", "arguments": {"y": 1}}}]},
    )
    assert chunks == [
        ToolCall(0, "c1", "f", ""), ToolCall(0, arguments='{"x"'), ToolCall(0, "c2", "g", '{"y":1}'),
    ]  # fmt: skip

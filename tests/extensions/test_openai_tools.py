"""Tools over the OpenAI API, with the real client and the echo engine that calls what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import running_server
from tests.extensions.asking import client_of, user

TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALLS = '[{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "time"}]'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with running_server(tmp_path_factory.mktemp("tools")) as live:
        live.load_echo(tool_calls=CALLS)
        with client_of(live) as client:
            yield client


def test_a_call_its_result_and_the_answer(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "developer", "content": "Be kind."}, *user("Warm?")]
    first = client.chat.completions.create(model="echo", messages=messages, tools=TOOLS, parallel_tool_calls=True)
    choice = first.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    calls = choice.message.tool_calls or []
    assert [(call.id, call.function.name, call.function.arguments) for call in calls if call.type == "function"] == [
        ("call_0", "weather", '{"city": "Oslo"}'), ("call_1", "time", "{}"),
    ]  # fmt: skip
    messages.append(choice.message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"4 C {call.id}"} for call in calls]
    last = client.chat.completions.create(model="echo", messages=messages, tools=TOOLS)
    assert (last.choices[0].finish_reason, last.choices[0].message.content) == ("stop", "4 C call_1")


def test_streamed_calls_have_index_id_and_name_once(client: openai.OpenAI) -> None:
    with client.chat.completions.create(model="echo", messages=user("Warm?"), tools=TOOLS, stream=True) as events:
        choices = [event.choices[0] for event in events if event.choices]
    deltas = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert [(one.index, one.id, one.type, one.function and one.function.name) for one in deltas] == [
        (0, "call_0", "function", "weather"), (0, None, None, None), (1, "call_1", "function", "time"),
        (1, None, None, None),
    ]  # fmt: skip
    assert "".join((one.function and one.function.arguments) or "" for one in deltas) == '{"city": "Oslo"}{}'
    assert choices[-1].finish_reason == "tool_calls"


def test_no_tool_is_called_where_none_is_chosen(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(model="echo", messages=user("Warm?"), tools=TOOLS, tool_choice="none")
    assert (made.choices[0].finish_reason, made.choices[0].message.content) == ("stop", "Warm?")


def test_a_model_that_takes_no_tools_refuses_them(shared_server: Any) -> None:
    body = {"model": "echo", "messages": user("hi"), "tools": TOOLS}
    answer = shared_server.http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "tools")

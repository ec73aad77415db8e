"""Tools, tool calls and parts that no engine takes are checked before an engine is asked."""

from __future__ import annotations

from typing import Any

import pytest

from modules.errors import EnginehouseError
from modules.generation.checks import check
from modules.messages.parts import AudioPart, FilePart, FunctionCall
from modules.types import GenerationRequest, Message

F = {"type": "function", "function": {"name": "f"}}
HELLO = (Message("user", "hello"),)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"tools": ({"type": "function"},)}, "tools.0"),
        ({"tools": (F, {"type": "retrieval", "function": {"name": "x"}})}, "tools.1"),
        ({"tools": (F,) * 257}, "tools"),
        ({"tool_choice": "often"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": (F,), "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": (F,), "prompt": "x", "messages": None}, "tools"),
        ({"messages": (Message("user", "x", tool_calls=(FunctionCall("1", "f"),)),)}, "messages.0"),
        ({"messages": (*HELLO, Message("tool", "x"))}, "messages.1"),
        ({"messages": (Message("user", (AudioPart("aGk="),)),)}, "messages.0"),
        ({"messages": (Message("user", (FilePart("0" * 64, "text/plain"),)),)}, "messages.0"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(EnginehouseError) as caught:
        check(GenerationRequest("r", **{"messages": HELLO, **wrong}))
    assert caught.value.param == param


@pytest.mark.parametrize("choice", ["auto", "none", "required", F])
def test_tools_and_their_history_pass(choice: Any) -> None:
    called = Message("assistant", tool_calls=(FunctionCall("1", "f"),))
    history = (*HELLO, called, Message("tool", "x", tool_call_id="1"))
    check(GenerationRequest("r", messages=history, tools=(F,), tool_choice=choice))

"""Assembles complete tool calls from the ToolCall deltas of a streamed reply, and writes them in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from modules.messages.message import Message
from modules.messages.parts import FunctionCall, ToolCall


class ToolCallAssembler:
    """Collects the deltas of one reply. Deltas of one call share an `index`; its arguments arrive in pieces."""

    def __init__(self) -> None:
        self._calls: dict[int, FunctionCall] = {}

    def add(self, delta: ToolCall) -> None:
        """Take one delta in."""
        known = self._calls.get(delta.index, FunctionCall("", "", ""))
        self._calls[delta.index] = FunctionCall(
            known.id or delta.id, known.name + delta.name, known.arguments + delta.arguments
        )

    @property
    def calls(self) -> tuple[FunctionCall, ...]:
        """The calls so far, by index. Arguments may be incomplete while the reply runs."""
        return tuple(self._calls[index] for index in sorted(self._calls))


def openai_tool_calls(calls: Iterable[FunctionCall]) -> list[dict[str, Any]]:
    """Calls as a message's `tool_calls` in OpenAI's shape."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]


def written_text(message: Message) -> str:
    """All of a message that a prompt may hold as text (for counting): its texts, calls and reasoning."""
    calls = "".join(f"{call.id}{call.name}{call.arguments}" for call in message.tool_calls)
    return f"{message.text}{calls}{message.reasoning}{message.name}{message.tool_call_id}"


def openai_message(message: Message, content: Any) -> dict[str, Any]:
    """A message in OpenAI's shape, with `content` as its reader wants it; keys without a value are left out.

    `reasoning_content` is the name that chat templates and servers read (DeepSeek's API, vLLM, llama.cpp).
    """
    found: dict[str, Any] = {"role": message.role, "content": content}
    if message.name:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = openai_tool_calls(message.tool_calls)
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    if message.reasoning:
        found["reasoning_content"] = message.reasoning
    return found


def system_for_developer(message: Message) -> Message:
    """A `developer` message as `system`, its older name, for templates and servers that know only that."""
    return replace(message, role="system") if message.role == "developer" else message

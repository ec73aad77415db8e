"""Tools of a chat request, tool calls of its messages, and tool calls of the answer, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.extension_api import BadParameter, Body, FunctionCall, ToolCall

MOST_TOOLS = 1000


def read_tools(body: Body) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls` as fields of a GenerationRequest.

    What is inside a tool is checked by the pipeline. Raises BadParameter.
    """
    tools = body.items("tools", MOST_TOOLS)
    if not all(isinstance(tool, dict) for tool in tools):
        raise body.wrong("tools", tools, "a list of objects")
    for place, tool in enumerate(tools):
        _name_unknown(body, place, tool)
    choice = body.take("tool_choice", "auto")
    if not isinstance(choice, (str, dict)):
        raise body.wrong("tool_choice", choice, "auto, none, required, or an object that names a function")
    parallel = body.flag("parallel_tool_calls") if body.has("parallel_tool_calls") else None
    return {"tools": tuple(tools), "tool_choice": choice, "parallel_tool_calls": parallel}


def _name_unknown(body: Body, place: int, tool: dict[str, Any]) -> None:
    """Have the fields of a tool that nobody reads named with those of the whole body."""
    entry = body.enter(f"tools.{place}", tool)
    entry.take("type")
    function = entry.take("function")
    if isinstance(function, dict):
        inner = entry.enter("function", function)
        for known in ("name", "description", "parameters", "strict"):
            inner.take(known)


def read_tool_calls(value: Any, where: str, role: str) -> tuple[FunctionCall, ...]:
    """The calls an assistant's message made. Raises BadParameter naming the place."""
    if not value:
        return ()
    if role != "assistant":
        raise BadParameter(f"{where}: only an assistant's message can make tool calls.", param=where)
    if not isinstance(value, list):
        raise BadParameter(f"{where} has to be a list.", param=where)
    return tuple(_call(call, f"{where}.{place}") for place, call in enumerate(value))


def _call(value: Any, where: str) -> FunctionCall:
    function = value.get("function") if isinstance(value, Mapping) else None
    if not isinstance(function, Mapping):
        raise BadParameter(f'{where} has to be {{"id": …, "type": "function", "function": {{"name": …, "arguments": '
                           '"{…}"}}.', param=where)  # fmt: skip
    texts = (value.get("id"), function.get("name"), function.get("arguments", "{}"))
    for name, text in zip(("id", "function.name", "function.arguments"), texts, strict=True):
        if not isinstance(text, str):
            raise BadParameter(f"{where}.{name} has to be a string.", param=f"{where}.{name}")
    return FunctionCall(str(texts[0]), str(texts[1]), str(texts[2]))


def delta_of(call: ToolCall) -> dict[str, Any]:
    """A piece of a call as an entry of a streamed `tool_calls` delta; only its first piece has id, type and name."""
    function: dict[str, Any] = {"name": call.name} if call.name else {}
    function["arguments"] = call.arguments
    head = {"id": call.id, "type": "function"} if call.id or call.name else {}
    return {"index": call.index, **head, "function": function}

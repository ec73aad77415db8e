"""Checks the tools of a request, the calls in its messages, and the parts no engine takes yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.errors import BadParameter, BadRequest, Unsupported
from modules.messages.parts import AudioPart, FilePart
from modules.types import GenerationRequest, Message

MOST_TOOLS = 256
CHOICES = ("auto", "none", "required")


def check_tools(request: GenerationRequest) -> None:
    """Raises BadParameter or BadRequest naming the place, Unsupported for a part that no engine takes."""
    if request.tools and request.messages is None:
        raise BadRequest("Tools go with messages, not with a raw prompt.", param="tools")
    if len(request.tools) > MOST_TOOLS:
        raise BadParameter(f"There are {len(request.tools)} tools, but {MOST_TOOLS} is the most.", param="tools")
    names = [_name(tool, f"tools.{place}") for place, tool in enumerate(request.tools)]
    _check_choice(request, names)
    for place, message in enumerate(request.messages or ()):
        _check_message(message, f"messages.{place}")


def _name(tool: Any, where: str) -> str:
    function = (
        tool.get("function") if isinstance(tool, Mapping) and tool.get("type", "function") == "function" else None
    )
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise BadParameter(
            f'{where} has to be {{"type": "function", "function": {{"name": …, "parameters": …}}}}.', param=where
        )
    return name


def _check_choice(request: GenerationRequest, names: list[str]) -> None:
    choice = request.tool_choice
    if isinstance(choice, str):
        if choice not in CHOICES:
            raise BadParameter(f"tool_choice is {choice[:60]!r}, but it has to be one of {', '.join(CHOICES)} or name "
                               "a function.", param="tool_choice")  # fmt: skip
        if choice == "required" and not names:
            raise BadParameter("tool_choice is required, but there are no tools.", param="tool_choice")
        return
    wanted = _name(choice, "tool_choice") if choice.get("type") == "function" else ""
    if wanted not in names:
        raise BadParameter(f"tool_choice names {wanted[:60]!r}, which is none of the tools.", param="tool_choice",
                           hint=f"The tools are: {', '.join(names)[:300] or 'none'}.")  # fmt: skip


def _check_message(message: Message, where: str) -> None:
    if message.tool_calls and message.role != "assistant":
        raise BadRequest(f"{where} has tool calls, but only an assistant's message can make them.", param=where)
    if message.role == "tool" and not (message.tool_call_id or message.name):
        raise BadRequest(f"{where} is a tool's result, but names no call.", hint="Give tool_call_id.", param=where)
    if any(isinstance(part, AudioPart) for part in message.content):
        raise Unsupported(f"{where} holds audio, which no loader takes yet.", param=where, code="audio_unsupported")
    if any(isinstance(part, FilePart) for part in message.content):
        raise Unsupported(f"{where} refers to a file that was not read.", param=where, code="file_unsupported",
                          hint="Send its text, or its image as an image part.")  # fmt: skip

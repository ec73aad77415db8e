"""A message as chat templates read it: OpenAI's shape, arguments of tool calls as objects."""

from __future__ import annotations

import json
from typing import Any

from modules.errors import BadRequest
from modules.messages.tool_calls import openai_message, system_for_developer
from modules.types import Message

REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
"""Keys templates read an assistant's reasoning under, as in transformers' chat_template_utils.py."""


def template_message(message: Message, content: Any, source: str) -> dict[str, Any]:
    """`message` with `content` as the template wants it (a text, or parts); `source` is the template's own text.

    A developer's message becomes a system message where the template does not name that role. Raises BadRequest for
    tool calls and results that the template has no place for: it would leave them out.
    """
    if (message.tool_calls or message.role == "tool") and "tool" not in source:
        raise BadRequest("The model's chat template has no place for tool calls and their results.",
                         hint="Leave them out, or use a model that was made for tools.", param="messages",
                         code="template_without_tools")  # fmt: skip
    shown = openai_message(message if "developer" in source else system_for_developer(message), content)
    if reasoning := shown.pop("reasoning_content", ""):
        shown |= dict.fromkeys(REASONING_KEYS, reasoning)
    for call in shown.get("tool_calls", ()):  # templates write them with tojson, so they want an object
        call["function"]["arguments"] = _parsed(call["function"]["arguments"])
    return shown


def _parsed(arguments: str) -> Any:
    """Arguments as an object; a text that is not JSON stays a text."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments

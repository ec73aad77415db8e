"""Consecutive messages of one role made into one, for chat templates that want user and assistant in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modules.messages.message import Message
from modules.messages.parts import TextPart


def merge_neighbours(messages: Sequence[Message], keep_last: bool = False) -> tuple[Message, ...]:
    """Neighbours of one role as one message, with an empty line between.

    They stand side by side where a reply failed before its first word; many models' templates refuse them.
    `keep_last`: the last message stays as it is (a reply that is continued).
    """
    found: list[Message] = []
    for place, message in enumerate(messages):
        last = found[-1] if found else None
        if last is None or not _mergeable(last, message) or (keep_last and place == len(messages) - 1):
            found.append(message)
            continue
        between = (TextPart("\n\n"),) if last.content and message.content else ()
        thoughts = "\n\n".join(one for one in (last.reasoning, message.reasoning) if one)
        found[-1] = replace(last, content=(*last.content, *between, *message.content), reasoning=thoughts)
    return tuple(found)


def _mergeable(first: Message, second: Message) -> bool:
    """Whether two messages can become one: one role and speaker, and neither calls a tool nor brings its result."""
    tools = first.tool_calls or second.tool_calls or first.tool_call_id or second.tool_call_id
    return first.role == second.role and first.name == second.name and first.role != "tool" and not tools

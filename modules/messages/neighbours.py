"""Consecutive messages of one role made into one, for chat templates that want user and assistant in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modules.messages.images import placed
from modules.types import Message


def merge_neighbours(messages: Sequence[Message], keep_last: bool = False) -> tuple[Message, ...]:
    """Neighbours of one role as one message, with an empty line between.

    They stand side by side where a reply failed before its first word; many models' templates refuse them.
    `keep_last`: the last message stays as it is (a reply that is continued).
    """
    found: list[Message] = []
    for place, message in enumerate(messages):
        last = found[-1] if found else None
        if last is None or last.role != message.role or (keep_last and place == len(messages) - 1):
            found.append(message)
            continue
        if last.images or message.images:
            last, message = placed(last), placed(message)
        text = "\n\n".join(one for one in (last.content, message.content) if one)
        found[-1] = replace(last, content=text, images=last.images + message.images)
    return tuple(found)

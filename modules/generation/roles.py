"""Messages as a model's chat template takes them: without a system role, or with one message of a role at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modules.messages.neighbours import merge_neighbours
from modules.types import Message, Notice, TemplateTraits


def fit_roles(messages: Sequence[Message], traits: TemplateTraits) -> tuple[tuple[Message, ...], tuple[Notice, ...]]:
    """The messages the template takes, and what was changed for it.

    A system message becomes the beginning of the next user message, or a user message where there is none.
    """
    found, notices = list(messages), []
    if not traits.system_role and any(message.role in ("system", "developer") for message in found):
        found = _without_system(found)
        text = "This model has no system role; the system prompt was put before the user's message."
        notices.append(Notice("system_merged", text))
    if not traits.same_role:
        joined = list(merge_neighbours(found))
        if len(joined) < len(found):
            text = "This model takes only one message of a role at a time; neighboring messages became one."
            notices.append(Notice("messages_merged", text))
        found = joined
    return tuple(found), tuple(notices)


def _without_system(messages: Sequence[Message]) -> list[Message]:
    found: list[Message] = []
    waiting: list[Message] = []
    for message in messages:
        if message.role in ("system", "developer"):
            waiting.append(replace(message, role="user"))
        elif message.role == "user" and waiting:
            found.append(merge_neighbours([*waiting, message])[0])
            waiting = []
        else:
            found.append(message)
    return [*found, *merge_neighbours(waiting)]

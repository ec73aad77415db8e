"""A conversation in OpenAI's shape → our messages."""

from __future__ import annotations

from typing import Any

from modules.extension_api import BadParameter, Message, Notice

from .parts import read_content

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
KNOWN = frozenset({"role", "content", "name", "refusal", "audio", "annotations", "reasoning_content", "tool_calls",
                   "function_call"})  # fmt: skip
MOST_NAMED = 20
MOST_MESSAGES = 10_000


def read_messages(value: Any) -> tuple[tuple[Message, ...], tuple[Notice, ...]]:
    """The messages and what of them had no effect. Raises BadParameter naming the place."""
    if not isinstance(value, list) or not value:
        raise BadParameter("messages has to be a list of at least one message.", param="messages")
    if len(value) > MOST_MESSAGES:
        raise BadParameter(f"messages has {len(value):,} messages, but {MOST_MESSAGES:,} is the most.",
                           param="messages")  # fmt: skip
    notices: dict[str, Notice] = {}
    messages = tuple(_message(item, f"messages.{place}", notices) for place, item in enumerate(value))
    return messages, tuple(notices.values())


def _message(item: Any, where: str, notices: dict[str, Notice]) -> Message:
    if not isinstance(item, dict):
        raise BadParameter(f"{where} has to be an object with role and content.", param=where)
    role = item.get("role")
    if role in ("tool", "function") or item.get("tool_calls") or item.get("function_call"):
        raise BadParameter(f"{where} is part of a tool call, and tool calls are not offered yet.", param=where,
                           code="unsupported")  # fmt: skip
    if not isinstance(role, str) or role not in ROLES:
        raise BadParameter(f"{where}.role has to be one of {', '.join(ROLES)}.", param=f"{where}.role")
    for name in item:
        if item[name] and (name == "name" or name not in KNOWN):
            text = f"{name[:80]} in a message has no effect here: chat templates have no place for it."
            if len(notices) < MOST_NAMED:
                notices.setdefault(name, Notice("without_effect", text, param=f"{where}.{name[:80]}"))
    content, images = read_content(item.get("content"), f"{where}.content", role, notices)
    return Message(ROLES[role], content, images)  # type: ignore[arg-type]

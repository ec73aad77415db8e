"""A conversation in OpenAI's shape → our messages."""

from __future__ import annotations

from typing import Any

from modules.extension_api import BadParameter, Message, Notice

from .parts import read_content
from .tools import read_tool_calls

ROLES = ("system", "developer", "user", "assistant", "tool")
KNOWN = frozenset({"role", "content", "name", "refusal", "audio", "annotations", "reasoning_content", "tool_calls",
                   "function_call", "tool_call_id"})  # fmt: skip
MOST_NAMED = 20
MOST_MESSAGES = 10_000


def read_messages(value: Any) -> tuple[tuple[Message, ...], tuple[Notice, ...]]:
    """The messages and what of them had no effect. Raises BadParameter naming the place."""
    if not isinstance(value, list) or not value:
        raise BadParameter("messages has to be a list of at least one message.", param="messages")
    if len(value) > MOST_MESSAGES:
        raise BadParameter(f"messages has {len(value):,} messages, but {MOST_MESSAGES:,} is the most.",
                           param="messages")  # fmt: skip
    parts = sum(len(item["content"]) for item in value if _has_parts(item))
    if parts > MOST_MESSAGES:
        raise BadParameter(f"messages has {parts:,} parts, but {MOST_MESSAGES:,} is the most.", param="messages")
    notices: dict[str, Notice] = {}
    messages = tuple(_message(item, f"messages.{place}", notices) for place, item in enumerate(value))
    return messages, tuple(notices.values())


def _has_parts(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("content"), list)


def _message(item: Any, where: str, notices: dict[str, Notice]) -> Message:
    if not isinstance(item, dict):
        raise BadParameter(f"{where} has to be an object with role and content.", param=where)
    role = item.get("role")
    if role == "function" or item.get("function_call"):
        raise BadParameter(f"{where} has the older form of a function call, which is not understood here.", param=where,
                           hint="Use the role tool and tool_calls.", code="unsupported")  # fmt: skip
    if not isinstance(role, str) or role not in ROLES:
        raise BadParameter(f"{where}.role has to be one of {', '.join(ROLES)}.", param=f"{where}.role")
    for name in item:
        if item[name] and (name not in KNOWN or (name == "name" and role != "tool")):
            _without_effect(name, where, notices)
    calls = read_tool_calls(item.get("tool_calls"), f"{where}.tool_calls", role)
    content = item.get("content")
    parts = () if content is None and calls else read_content(content, f"{where}.content", role, notices)
    texts = {key: _string(item, key, where) for key in ("name", "tool_call_id", "reasoning_content")}
    if role == "tool" and not texts["tool_call_id"]:
        raise BadParameter(f"{where} is a tool's result and has to name its call: give tool_call_id.",
                           param=f"{where}.tool_call_id")  # fmt: skip
    return Message(
        role, parts, name=texts["name"], tool_calls=calls, tool_call_id=texts["tool_call_id"],  # type: ignore[arg-type]
        reasoning=texts["reasoning_content"] if role == "assistant" else "",
    )  # fmt: skip


def _without_effect(name: str, where: str, notices: dict[str, Notice]) -> None:
    if len(notices) >= MOST_NAMED:
        return
    why = "most chat templates have no place for it" if name == "name" else "chat templates have no place for it"
    text = f"{name[:80]} in a message has no effect here: {why}."
    notices.setdefault(name, Notice("without_effect", text, param=f"{where}.{name[:80]}"))


def _string(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise BadParameter(f"{where}.{key} has to be a string.", param=f"{where}.{key}")
    return value or ""

"""What a chat is: values that never change. `tree` grows them, `store` keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from modules.messages.message import Role
from modules.messages.parts import FunctionCall, Part, as_parts, part_dict

State = Literal["done", "running", "stopped", "failed", "interrupted"]
TITLE_LENGTH = 60
UNTITLED = "New chat"
LIST_LIMIT = 200
"""Chats on one page of the list, at most."""


@dataclass(frozen=True, slots=True)
class MessageNode:
    """One message. `rev` is the chat's revision when it last changed.

    continue_of   the message whose text this reply began with
    created       ISO 8601, UTC, milliseconds
    text          all text of the message
    parts         what it is made of where that is more than text (files by their hash); () = `text` alone
    name          who speaks, or the tool; "" = the person, or the model
    tool_calls    role assistant: the calls it made; tool_call_id  role tool: the call it answers
    """

    id: str
    parent: str | None
    role: Role
    text: str
    created: str
    reasoning: str = ""
    state: State = "done"
    model: str | None = None
    stats: Mapping[str, Any] | None = None
    notices: tuple[Mapping[str, Any], ...] = ()
    ledger: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    finish_reason: str | None = None
    continue_of: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    rev: int = 0
    parts: tuple[Part, ...] = ()
    name: str = ""
    tool_calls: tuple[FunctionCall, ...] = ()
    tool_call_id: str = ""

    @property
    def content(self) -> tuple[Part, ...]:
        """The message's parts, also where it is only text."""
        return self.parts or as_parts(self.text)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {
            "notices": list(self.notices), "parts": [part_dict(part) for part in self.parts],
            "tool_calls": [asdict(call) for call in self.tool_calls],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatInfo:
    """One row of the chat list. `messages` counts what is visible, `snippet` is plain text."""

    id: str
    title: str
    created: str
    updated: str
    snippet: str
    messages: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat as it was at `rev`; never changes. `messages` are the visible ones, parents first."""

    id: str
    title: str
    created: str
    updated: str
    rev: int
    leaf: str | None
    system: str
    messages: Mapping[str, MessageNode]

    def path(self, leaf: str | None = None) -> list[MessageNode]:
        """The conversation that ends in `leaf` (default: the selected one), first message first."""
        at = self.leaf if leaf is None else leaf
        found: list[MessageNode] = []
        while at is not None and at in self.messages:
            found.append(self.messages[at])
            at = self.messages[at].parent
        return found[::-1]

    def siblings(self, message: str) -> list[MessageNode]:
        """All versions of `message`, itself included, oldest first."""
        parent = self.messages[message].parent
        return [node for node in self.messages.values() if node.parent == parent]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, messages as a list."""
        head = {one.name: getattr(self, one.name) for one in fields(self)}
        return head | {"messages": [node.as_dict() for node in self.messages.values()]}


def title_from(text: str) -> str:
    """A title made of a message: its first line with words in it, at most 60 characters."""
    lines = (" ".join(line.split()).lstrip("#> ") for line in text[:2000].splitlines() if line.strip(" \t#>*-`"))
    line = next(lines, "")
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[: TITLE_LENGTH - 1]
    word = len(cut) if line[len(cut)] == " " else cut.rfind(" ")
    return (cut[:word] if word > TITLE_LENGTH // 2 else cut).rstrip() + "…"

"""A chat as a tree of messages that only grows. Pure: no disk, no clock, no threads.

Every change is a record (one line of the chat's journal); `Tree.apply` is the only way a tree changes,
live and when a journal is replayed, so both always agree. Nothing is overwritten: an edit is a further
child of the same parent, a deletion hides a subtree, and both can be taken back.

    {"kind": "header",   "format": 1, "id", "time", "title"}
    {"kind": "message",  "seq", "rev", "time", "id", "parent", "role", "text", "state", "parts",
     "name", "tool_calls", "tool_call_id", …}
    {"kind": "partial",  "seq", "time", "message", "at", "text", "reasoning_at", "reasoning"}
    {"kind": "final",    "seq", "rev", "time", "message", "text", "reasoning", "state", "stats", …}
    {"kind": "select" | "title" | "system" | "delete" | "undelete", "seq", "rev", "time", …}

`seq` counts records, `rev` counts changes a reader has to know of (a partial is none). Unknown kinds and
fields are passed over here and kept in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from modules.chats.values import UNTITLED, Chat, MessageNode, State, title_from
from modules.messages.message import Role
from modules.messages.parts import FunctionCall, Part, part_from

Record = dict[str, Any]


class Malformed(ValueError):
    """A record that cannot be applied; it stays in the journal and is reported."""


class Tree:
    """The growing state of one chat. Not thread-safe: its owner locks."""

    __slots__ = (
        "_children", "_deleted", "_hidden", "created", "id", "leaf", "name", "nodes", "rev", "seq", "system", "updated"
    )  # fmt: skip

    def __init__(self, chat: str) -> None:
        self.id = chat
        self.name = ""
        self.created = self.updated = ""
        self.rev = self.seq = 0
        self.leaf: str | None = None
        self.system = ""
        self.nodes: dict[str, MessageNode] = {}
        self._children: dict[str | None, list[str]] = {}
        self._deleted: dict[str, str | None] = {}  # root of a deleted subtree → the leaf it hid
        self._hidden: set[str] = set()

    # ── questions ───────────────────────────────────────────────────────────────────────────────────

    @property
    def title(self) -> str:
        """The name given, or one made of the first thing the person said."""
        if self.name:
            return self.name
        said = (node.text for node in self.nodes.values() if node.role == "user" and node.id not in self._hidden)
        return next((title for title in map(title_from, said) if title), UNTITLED)

    def visible(self, message: str | None) -> bool:
        """Whether `message` exists and neither it nor one above it is deleted."""
        return message in self.nodes and message not in self._hidden

    def deletions(self) -> list[tuple[str, str | None]]:
        """Each deleted message, the one deleted first in front, with the leaf its deletion hid."""
        return list(self._deleted.items())

    def deleted(self, message: str) -> bool:
        """Whether `message` itself was deleted (not only hidden by one above it)."""
        return message in self._deleted

    def children(self, message: str | None) -> list[str]:
        """Visible messages right below `message` (None: the first messages), oldest first."""
        return [child for child in self._children.get(message, ()) if child not in self._hidden]

    def below(self, message: str) -> Iterator[str]:
        """`message` and every visible message under it."""
        waiting = [message]
        while waiting:
            at = waiting.pop()
            yield at
            waiting.extend(self.children(at))

    def recent_leaf(self, message: str | None) -> str | None:
        """The end of the conversation through `message` that was changed last."""
        tops = [message] if message is not None else self.children(None)
        ends = [at for top in tops for at in self.below(top) if not self.children(at)]
        return max(ends, key=lambda at: self.nodes[at].rev, default=None)

    def leaf_without(self, message: str) -> str | None:
        """The leaf to show when `message` goes: another version of it if there is one, else the message above."""
        if self.leaf is None or self.leaf not in self.below(message):
            return self.leaf
        parent = self.nodes[message].parent
        others = [other for other in self.children(parent) if other != message]
        if not others:
            return parent if self.visible(parent) else None
        place = self._children[parent].index(message)
        before = [other for other in others if self._children[parent].index(other) < place]
        return self.recent_leaf(before[-1] if before else others[0])

    def leaf_with(self, message: str) -> str | None:
        """The leaf to show when the deleted `message` comes back: the one its deletion took away."""
        return self._deleted.get(message) or self.leaf

    def running(self) -> list[str]:
        """Replies that have no end yet."""
        return [node.id for node in self.nodes.values() if node.state == "running"]

    def snapshot(self) -> Chat:
        """The chat now, as a value."""
        shown = {name: node for name, node in self.nodes.items() if name not in self._hidden}
        return Chat(self.id, self.title, self.created, self.updated, self.rev, self.leaf, self.system, shown)

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────

    def stamped(self, record: Mapping[str, Any], time: str) -> Record:
        """`record` with its place in the history; it is not applied yet."""
        rev = {} if record["kind"] == "partial" else {"rev": self.rev + 1}
        return {"kind": record["kind"], "seq": self.seq + 1, **rev, "time": time, **record}

    def apply(self, record: Mapping[str, Any]) -> None:
        """Take one record in. Raises Malformed, and then nothing has changed, if it makes no sense."""
        seq, rev = _whole(record, "seq"), _whole(record, "rev")
        try:
            change = _CHANGES.get(_text(record, "kind"))
            if change is not None:
                change(self, record)
        except (KeyError, TypeError) as error:
            raise Malformed(str(error)) from error
        self.seq = max(self.seq, seq)
        self.rev = max(self.rev, rev)

    def interrupt(self, alive: frozenset[str] = frozenset()) -> None:
        """Replies that nobody writes any more, all but `alive`, ended with what was saved of them."""
        for name in self.running():
            if name not in alive:
                self.nodes[name] = replace(self.nodes[name], state="interrupted")

    def _header(self, record: Mapping[str, Any]) -> None:
        time, self.name = _text(record, "time"), _text(record, "title", "")
        self.created = self.updated = time

    def _message(self, record: Mapping[str, Any]) -> None:
        name, role, state = _text(record, "id"), record["role"], record.get("state", "done")
        if name in self.nodes or role not in get_args(Role) or state not in get_args(State):
            raise Malformed(f"message {name!r} cannot be placed")
        parent = record["parent"]
        if parent is not None and parent not in self.nodes:
            # The line of its parent is damaged: what stood before that line is the best parent left.
            parent = next(reversed(self.nodes), None)
        node = MessageNode(
            id=name, parent=parent, role=role, state=state, text=_text(record, "text"),
            created=_text(record, "time"), reasoning=_text(record, "reasoning", ""), model=record.get("model"),
            continue_of=record.get("continue_of"), meta=record.get("meta") or {}, rev=_whole(record, "rev"),
            parts=_parts(record), name=_text(record, "name", ""), tool_calls=_calls(record),
            tool_call_id=_text(record, "tool_call_id", ""),
        )  # fmt: skip
        self.nodes[name] = node
        self._children.setdefault(parent, []).append(name)
        if parent in self._hidden:
            self._hidden.add(name)
        else:
            self.leaf = name
        self.updated = node.created

    def _partial(self, record: Mapping[str, Any]) -> None:
        node = self.nodes[_text(record, "message")]
        text = node.text[: _whole(record, "at")] + _text(record, "text")
        reasoning = node.reasoning[: _whole(record, "reasoning_at")] + _text(record, "reasoning", "")
        self.nodes[node.id] = replace(node, text=text, reasoning=reasoning)

    def _final(self, record: Mapping[str, Any]) -> None:
        node = self.nodes[_text(record, "message")]
        if record["state"] not in get_args(State):
            raise Malformed(f"no such state: {record['state']!r}")
        self.nodes[node.id] = replace(
            node, text=_text(record, "text"), reasoning=_text(record, "reasoning", ""), state=record["state"],
            stats=record.get("stats"), notices=tuple(record.get("notices") or ()), ledger=record.get("ledger"),
            error=record.get("error"), finish_reason=record.get("finish_reason"), rev=_whole(record, "rev"),
            tool_calls=_calls(record) or node.tool_calls,
        )  # fmt: skip
        self.updated = _text(record, "time")

    def _select(self, record: Mapping[str, Any]) -> None:
        if not self.visible(record["leaf"]):
            raise Malformed(f"no message {record['leaf']!r} to select")
        self.leaf = record["leaf"]

    def _title(self, record: Mapping[str, Any]) -> None:
        self.name = _text(record, "title")

    def _system(self, record: Mapping[str, Any]) -> None:
        self.system = _text(record, "text")

    def _delete(self, record: Mapping[str, Any]) -> None:
        message = _text(record, "message")
        if not self.visible(message):
            raise Malformed(f"no message {message!r} to delete")
        gone, before = set(self.below(message)), self.leaf
        self._deleted[message] = before if before in gone else None
        self._hidden |= gone
        self._show(record.get("leaf"))

    def _undelete(self, record: Mapping[str, Any]) -> None:
        message = _text(record, "message")
        if message not in self._deleted or self.nodes[message].parent in self._hidden:
            raise Malformed(f"message {message!r} is not deleted")
        del self._deleted[message]
        waiting = [message]
        while waiting:
            at = waiting.pop()
            self._hidden.discard(at)
            waiting.extend(child for child in self._children.get(at, ()) if child not in self._deleted)
        self._show(record.get("leaf"))

    def _show(self, leaf: str | None) -> None:
        """Select `leaf`, or what is nearest to it when a damaged line took it away."""
        if leaf is not None and not self.visible(leaf):
            leaf = self.leaf if self.visible(self.leaf) else self.recent_leaf(None)
        self.leaf = leaf


_CHANGES = {
    "header": Tree._header, "message": Tree._message, "partial": Tree._partial, "final": Tree._final,
    "select": Tree._select, "title": Tree._title, "system": Tree._system,
    "delete": Tree._delete, "undelete": Tree._undelete,
}  # fmt: skip


def _text(record: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = record[key] if default is None else record.get(key, default)
    if not isinstance(value, str):
        raise Malformed(f"{key} is not text")
    return value


def _whole(record: Mapping[str, Any], key: str) -> int:
    value = record.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"{key} is not a whole number")
    return value


def _parts(record: Mapping[str, Any]) -> tuple[Part, ...]:
    try:
        return tuple(part_from(part) for part in record.get("parts") or ())
    except (ValueError, AttributeError) as error:
        raise Malformed(str(error)) from error


def _calls(record: Mapping[str, Any]) -> tuple[FunctionCall, ...]:
    return tuple(FunctionCall(**call) for call in record.get("tool_calls") or ())

"""A chat's whole journal made from its tree, for when the file is gone and memory is all there is."""

from __future__ import annotations

from typing import Any

from modules.chats.records import plain
from modules.chats.tree import Record, Tree
from modules.chats.values import MessageNode


def records_of(tree: Tree) -> list[Record]:
    """Records that give `tree` again when they are replayed, without its header. Replies that run stay running.

    The ends of replies come after all messages and carry the time of the last change, because a tree does
    not keep the time of each end.
    """
    found: list[Record] = []
    for node in tree.nodes.values():
        found.append(_message(node))
    for node in tree.nodes.values():
        if _has_end(node):
            found.append(_final(node, tree.updated))
    if tree.system:
        found.append({"kind": "system", "text": tree.system})
    for message, leaf in tree.deletions():
        if leaf is not None:
            found.append({"kind": "select", "leaf": leaf})
        found.append({"kind": "delete", "message": message, "leaf": None})
    if tree.leaf is not None:
        found.append({"kind": "select", "leaf": tree.leaf})
    numbered = [
        {"kind": one["kind"], "seq": seq, "rev": one.get("rev", 0), "time": one.get("time", tree.updated), **one}
        for seq, one in enumerate(found, 1)
    ]
    if numbered:  # so that what follows goes on counting from where memory is
        numbered[-1] |= {"seq": max(tree.seq, len(numbered)), "rev": tree.rev}
    return numbered


def header_of(tree: Tree) -> Record:
    """The first line."""
    return {"id": tree.id, "time": tree.created, "title": tree.name}


def _message(node: MessageNode) -> Record:
    facts: dict[str, Any] = {
        "reasoning": node.reasoning, "model": node.model, "continue_of": node.continue_of, "meta": plain(node.meta),
        "parts": plain(node.parts), "name": node.name, "tool_calls": plain(node.tool_calls),
        "tool_call_id": node.tool_call_id,
    }  # fmt: skip
    state = "running" if node.state == "interrupted" or _has_end(node) else node.state
    return {
        "kind": "message", "time": node.created, "rev": node.rev, "id": node.id, "parent": node.parent,
        "role": node.role, "text": node.text, "state": state, **{key: one for key, one in facts.items() if one},
    }  # fmt: skip


def _has_end(node: MessageNode) -> bool:
    return node.role == "assistant" and node.state in ("done", "stopped", "failed")


def _final(node: MessageNode, time: str) -> Record:
    facts = {
        "stats": node.stats, "notices": node.notices, "ledger": node.ledger, "error": node.error,
        "finish_reason": node.finish_reason, "tool_calls": node.tool_calls,
    }  # fmt: skip
    return {
        "kind": "final", "time": time, "rev": node.rev, "message": node.id, "text": node.text,
        "reasoning": node.reasoning, "state": node.state, **{key: plain(one) for key, one in facts.items() if one},
    }  # fmt: skip

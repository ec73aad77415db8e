"""modules/chats/values.py and tree.py: a tree that only grows."""

from __future__ import annotations

from typing import Any

import pytest

from modules.chats.tree import Malformed, Tree
from modules.chats.values import title_from

TIME = "2026-11-21T12:00:00.000Z"


def grown(*records: dict[str, Any]) -> Tree:
    tree = Tree("c")
    tree.apply({"kind": "header", "time": TIME, "title": ""})
    for record in records:
        tree.apply(tree.stamped(record, TIME))
    return tree


def said(name: str, parent: str | None, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"kind": "message", "id": name, "parent": parent, "role": role, "text": name, **more}


def shape() -> Tree:
    """a ─ b ─ c ─ d
    │   └─ c2 ─ d2
    └─ b2"""
    return grown(
        said("a", None), said("b", "a", "assistant"), said("c", "b"), said("d", "c", "assistant"),
        said("c2", "b"), said("d2", "c2", "assistant"), said("b2", "a", "assistant"),
    )  # fmt: skip


def test_the_path_leads_from_the_first_message_to_the_selected_one() -> None:
    chat = shape().snapshot()
    assert [node.id for node in chat.path()] == ["a", "b2"]
    assert [node.id for node in chat.path("d")] == ["a", "b", "c", "d"]
    assert [node.id for node in chat.siblings("b")] == ["b", "b2"]


def test_a_version_leads_to_the_end_that_was_changed_last() -> None:
    tree = shape()
    assert tree.recent_leaf("b") == "d2"
    assert tree.recent_leaf("c") == "d"
    assert tree.recent_leaf("b2") == "b2"
    assert tree.recent_leaf(None) == "b2"


def test_deleting_hides_a_subtree_and_shows_what_is_nearest() -> None:
    tree = shape()
    tree.apply({"kind": "select", "leaf": "d2"})
    assert tree.leaf_without("c2") == "d"
    assert tree.leaf_without("b") == "b2"
    assert tree.leaf_without("a") is None
    assert tree.leaf_without("d2") == "c2"
    assert tree.leaf_without("c") == "d2", "something off the path changes nothing"
    tree.apply({"kind": "delete", "message": "c2", "leaf": "d"})
    assert tree.leaf == "d"
    assert list(tree.snapshot().messages) == ["a", "b", "c", "d", "b2"]


def test_undoing_brings_back_the_subtree_and_the_place() -> None:
    tree = shape()
    tree.apply({"kind": "select", "leaf": "d2"})
    tree.apply({"kind": "delete", "message": "d2", "leaf": "c2"})
    tree.apply({"kind": "delete", "message": "b", "leaf": "b2"})
    with pytest.raises(Malformed):
        tree.apply({"kind": "undelete", "message": "d2"})
    assert tree.leaf_with("b") == "c2"
    tree.apply({"kind": "undelete", "message": "b", "leaf": tree.leaf_with("b")})
    assert tree.leaf == "c2"
    assert not tree.visible("d2"), "what was deleted on its own stays deleted"
    tree.apply({"kind": "undelete", "message": "d2", "leaf": tree.leaf_with("d2")})
    assert tree.leaf == "d2"


@pytest.mark.parametrize(
    "record",
    [
        {"kind": 3},
        {"kind": "message"},
        said("a", None),
        said("x", None, "robot"),
        said("x", None, state="flying"),
        {**said("x", None), "text": 5},
        {**said("x", None), "rev": -1},
        {**said("x", None), "parent": ["a"]},
        {"kind": "final", "message": "nobody", "text": "", "state": "done"},
        {"kind": "final", "message": "a", "text": "new", "state": "odd", "time": TIME},
        {"kind": "partial", "message": "a", "text": "x", "at": "2"},
        {"kind": "select", "leaf": "nobody"},
        {"kind": "delete", "message": "nobody"},
        {"kind": "undelete", "message": "a"},
        {"kind": "title", "title": None},
    ],
)
def test_a_record_that_makes_no_sense_changes_nothing(record: dict[str, Any]) -> None:
    tree = shape()
    before = tree.snapshot(), tree.seq
    with pytest.raises(Malformed):
        tree.apply({"time": TIME, **record})
    assert (tree.snapshot(), tree.seq) == before


def test_a_message_whose_parent_was_lost_stands_below_the_one_before_it() -> None:
    tree = grown(said("a", None), said("c", "lost"), said("d", "c"))
    assert [node.id for node in tree.snapshot().path()] == ["a", "c", "d"]


def test_unknown_kinds_count_but_change_nothing() -> None:
    tree = grown(said("a", None), {"kind": "vote", "for": "a"})
    assert (tree.rev, tree.seq) == (2, 2)
    assert list(tree.nodes) == ["a"]


def test_partials_grow_a_reply_without_a_new_revision() -> None:
    tree = grown(said("a", None, "assistant", state="running", text=""))
    for at, text in ((0, "Hel"), (3, "lo"), (3, "p!")):
        record = {"kind": "partial", "message": "a", "at": at, "text": text, "reasoning_at": at, "reasoning": text}
        tree.apply(tree.stamped(record, TIME))
    assert (tree.nodes["a"].text, tree.nodes["a"].reasoning) == ("Help!", "Help!")
    assert (tree.rev, tree.seq) == (1, 4)


def test_a_snapshot_does_not_change_afterwards() -> None:
    tree = grown(said("a", None))
    before = tree.snapshot()
    tree.apply(tree.stamped(said("b", "a"), TIME))
    assert list(before.messages) == ["a"]
    assert before.leaf == "a"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello\nworld", "Hello"),
        ("\n\n  # What   is rust?", "What is rust?"),
        ("```\ncode", "code"),
        ("", ""),
        ("x" * 61, "x" * 59 + "…"),
        ("word " * 30, "word " * 11 + "word…"),
        ("é" * 60, "é" * 60),
    ],
)
def test_the_title_is_the_first_line_with_words(text: str, title: str) -> None:
    assert title_from(text) == title
    assert len(title_from(text)) <= 60


def test_the_title_follows_the_first_thing_said_until_one_is_given() -> None:
    tree = grown(said("greeting", None, "assistant"))
    assert tree.title == "New chat"
    tree.apply(tree.stamped(said("q", "greeting"), TIME))
    assert tree.title == "q"
    tree.apply(tree.stamped({"kind": "title", "title": "Mine"}, TIME))
    assert tree.title == "Mine"
    tree.apply(tree.stamped({"kind": "title", "title": ""}, TIME))
    assert tree.title == "q"

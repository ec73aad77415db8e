"""Consecutive messages of one role as one."""

from __future__ import annotations

from modules.messages.neighbours import merge_neighbours
from modules.messages.parts import FunctionCall, ImagePart, TextPart
from modules.types import Message
from tests.pictures import looking


def test_only_neighbours_of_one_role_are_merged() -> None:
    turns = [Message("user", "a"), Message("assistant", "b"), Message("user", ""), Message("user", "c")]
    assert merge_neighbours(turns) == (*turns[:2], Message("user", "c"))
    assert merge_neighbours(turns[2:] * 2) == (Message("user", "c\n\nc"),)


def test_a_reply_that_is_continued_is_not_merged_with_the_one_before() -> None:
    turns = [Message("assistant", "a"), Message("assistant", "b")]
    assert merge_neighbours(turns, keep_last=True) == tuple(turns)


def test_images_stay_before_the_text_they_came_with() -> None:
    merged = merge_neighbours([Message("user", "a"), looking("b", "image")])
    assert merged == (Message("user", (TextPart("a\n\n"), ImagePart("image"), TextPart("b"))),)


def test_tool_calls_their_results_and_other_speakers_stay_apart() -> None:
    turns = [
        Message("assistant", tool_calls=(FunctionCall("1", "f"),)), Message("assistant", "x"),
        Message("tool", "a", tool_call_id="1"), Message("tool", "b", tool_call_id="2"),
        Message("user", "a", name="Ann"), Message("user", "b", name="Ben"),
    ]  # fmt: skip
    assert merge_neighbours(turns) == tuple(turns)

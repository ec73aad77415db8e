"""Parts of a message, and tool calls put together from their pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders.text.media_mark import MEDIA_MARK, marked_prompt, marked_text, split_marks, without_marks
from modules.messages.parts import FilePart, FunctionCall, ImagePart, TextPart, part_dict, part_from
from modules.messages.tool_calls import ToolCallAssembler, written_text
from modules.types import Message, RenderedPrompt, ToolCall


def test_a_string_is_one_text_part_and_texts_side_by_side_are_one() -> None:
    assert Message("user", "hi").content == (TextPart("hi"),)
    assert Message("user").content == Message("user", "").content == ()
    parts = (TextPart("a"), TextPart(""), TextPart("b"), ImagePart("x"), TextPart("c"))
    message = Message("user", parts)
    assert message.content == (TextPart("ab"), ImagePart("x"), TextPart("c"))
    assert (message.text, message.images) == ("abc", ("x",))


def test_messages_are_values() -> None:
    message = Message("user", "hi", name="Ann", source="history")
    assert message == Message("user", "hi", name="Ann")
    assert {message, Message("user", "hi", name="Ann")} == {message}
    assert replace(message, content=(TextPart("b"),)).name == "Ann"
    with pytest.raises(AttributeError):
        message.role = "system"  # type: ignore[misc]


def test_a_part_comes_back_from_its_dict_and_an_unknown_one_is_refused() -> None:
    part = FilePart("0" * 64, "image/png", "a.png")
    assert part_from(part_dict(part)) == part
    with pytest.raises(ValueError, match="hologram"):
        part_from({"type": "hologram"})
    with pytest.raises(TypeError):
        part_from({"type": "text", "text": "x", "more": 1})


def test_calls_are_put_together_by_index() -> None:
    made = ToolCallAssembler()
    for piece in (ToolCall(1, "b", "g", ""), ToolCall(0, "a", "f", '{"x"'), ToolCall(0, "", "", ": 1}")):
        made.add(piece)
    assert made.calls == (FunctionCall("a", "f", '{"x": 1}'), FunctionCall("b", "g", ""))


def test_everything_a_prompt_may_hold_is_counted() -> None:
    message = Message("assistant", "a", reasoning="thought", tool_calls=(FunctionCall("1", "f", "{}"),))
    assert all(part in written_text(message) for part in ("a", "thought", "f", "{}"))


TYPED = st.lists(st.sampled_from([MEDIA_MARK, "<__media", "__>", "<", "media", "\u200b", "x"]), max_size=8).map("".join)


@given(TYPED)
def test_text_from_people_holds_no_mark_and_looks_the_same(text: str) -> None:
    clean = without_marks(text)
    assert MEDIA_MARK not in clean
    assert clean.replace("\u200b", "") == text.replace("\u200b", "")


@given(TYPED, TYPED)
def test_a_message_and_a_prompt_have_a_mark_for_each_image_and_no_other(before: str, after: str) -> None:
    parts = (TextPart(before), ImagePart("x"), ImagePart("y"), TextPart(after))
    assert marked_text(Message("user", parts)).count(MEDIA_MARK) == 2
    text = before + after
    marked = marked_prompt(text, (len(before), len(before)))
    assert marked.count(MEDIA_MARK) == 2
    if MEDIA_MARK not in before + "|" + after:
        assert split_marks(marked) == RenderedPrompt(text, (len(before), len(before)))

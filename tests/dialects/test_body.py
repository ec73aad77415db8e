"""Fields of a request: read one by one, nested ones too, and whatever nobody reads is named."""

from __future__ import annotations

from typing import Any

import pytest

from modules.dialects.body import Body
from modules.errors import BadParameter


def test_unread_fields_are_named_with_their_path_also_nested_ones() -> None:
    body = Body({"a": 1, "outer": {"known": 1, "odd": 2, "gone": None}, "temprature": 1, "list": [1]})
    body.take("a")
    body.items("list", 5)
    body.inner("outer").take("known")
    notices = body.unknown(["temperature"])
    assert [notice.param for notice in notices] == ["temprature", "outer.odd"]
    assert "Did you mean temperature?" in notices[0].message


def test_thousands_of_unread_fields_are_counted_not_named() -> None:
    body = Body({"outer": {f"field {n}": n for n in range(50_000)}})
    body.inner("outer")
    notices = body.unknown(["field"])
    assert len(notices) == 21
    assert notices[-1].message.startswith("49980 more")


@pytest.mark.parametrize(
    ("read", "value", "path"),
    [
        (lambda body: body.text("x"), 5, "outer.x"), (lambda body: body.flag("x"), "perhaps", "outer.x"),
        (lambda body: body.integer("x", 1, 1, 5), 6, "outer.x"),
        (lambda body: body.integer("x", 1, 1, 5), 1.5, "outer.x"),
        (lambda body: body.object("x"), [], "outer.x"), (lambda body: body.inner("x"), "{}", "outer.x"),
        (lambda body: body.items("x", 2), [1, 2, 3], "outer.x"),
        (lambda body: body.choice("x", ("a",), "a"), {}, "outer.x"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_path(read: Any, value: Any, path: str) -> None:
    with pytest.raises(BadParameter) as caught:
        read(Body({"x": value}, "outer"))
    assert caught.value.param == path


def test_null_is_left_out_and_numbers_and_truth_may_come_as_text() -> None:
    body = Body({"a": None, "b": "true", "c": 1, "d": "7", "e": None})
    assert (body.text("a", "x"), body.flag("b"), body.flag("c"), body.integer("d", 1, 0, 9), body.flag("e")) == (
        "x", True, True, 7, False,
    )  # fmt: skip
    assert body.unknown() == ()

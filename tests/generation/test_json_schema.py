"""JSON schemas: refused beforehand when they cannot be enforced, and looked at again in the reply."""

from __future__ import annotations

from typing import Any

import pytest

from modules.errors import BadRequest
from modules.generation.pipeline import Generation, Result
from modules.types import Done, GenerationRequest, Message, Text
from tests.engine_stand_in import Lender, StandIn

pytestmark = pytest.mark.anyio


def ask(**more: Any) -> GenerationRequest:
    more.setdefault("messages", None if "prompt" in more else (Message("user", "hello"),))
    return GenerationRequest("r", **more)


async def reply(engine: StandIn, **more: Any) -> Result:
    return await Generation(Lender(engine)).run(ask(**more))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "string"}}, "not"),
        ({"if": {}, "then": {}}, "if"),
        ({"type": "array", "contains": {"type": "string"}}, "contains"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-ahead"),
        ({"type": "foo"}, "Invalid type: foo"),
        ({"properties": {"\ud800": {}}}, "hex escape"),
    ],
)
async def test_a_schema_that_cannot_be_enforced_is_refused_before_a_model_is_asked_for(
    schema: dict[str, Any], reason: str
) -> None:
    lender = Lender(StandIn())
    with pytest.raises(BadRequest) as caught:
        await Generation(lender).run(ask(json_schema=schema))
    assert (caught.value.param, caught.value.code, caught.value.status) == (
        "response_format",
        "schema_unsupported",
        400,
    )
    assert reason in caught.value.message
    assert "%json" not in caught.value.message
    assert lender.names == []


@pytest.mark.parametrize("more", [{}, {"maxLength": 10**30}])
async def test_an_ordinary_schema_passes_without_a_word(more: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["1", "2"]}}, "required": ["a"], **more}
    assert (await reply(StandIn([Text('{"a":"1"}'), Done("stop")]), json_schema=schema)).notices == ()


@pytest.mark.parametrize("text", ["Sure! Here it is", '{"a": 1', "", "{}}"])
async def test_a_reply_that_is_no_json_although_a_schema_was_given_is_said(text: str) -> None:
    result = await reply(StandIn([Text(text), Done("stop")]), json_schema={"type": "object"})
    assert [notice.code for notice in result.notices] == ["schema_not_enforced"]
    assert result.text == text


@pytest.mark.parametrize(
    ("text", "reason", "more"),
    [
        ('{"a": 1', "length", {"json_schema": {}}),
        ('{"a": 1#', "stop", {"json_schema": {}, "stop": ("#",)}),
        (' {"a": 1}\n', "stop", {"json_schema": {}}),
        ("Sure!", "stop", {}),
        ("1", "stop", {"json_schema": {}, "prompt": "Answer: ", "echo": True}),
    ],
)
async def test_a_reply_that_was_cut_or_is_json_is_not_complained_about(
    text: str, reason: Any, more: dict[str, Any]
) -> None:
    result = await reply(StandIn([Text(text), Done(reason)]), **more)
    assert result.notices == ()

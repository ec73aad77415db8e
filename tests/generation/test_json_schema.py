"""JSON schemas: refused beforehand when they cannot be enforced, and looked at again in the reply."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import pytest

from modules.errors import BadParameter, BadRequest, EnginehouseError
from modules.generation import json_schema
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


async def test_other_replies_go_on_while_a_schema_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = threading.Event()
    monkeypatch.setattr(json_schema, "why_not", lambda schema: "" if beaten.wait(3) else "the loop stood still")
    asyncio.get_running_loop().call_later(0.05, beaten.set)
    assert (await reply(StandIn([Text("{}"), Done("stop")]), json_schema={})).notices == ()


async def test_a_schema_that_takes_too_long_to_check_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(json_schema, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(json_schema, "why_not", lambda schema: str(go_on.wait(3) or ""))
    with pytest.raises(BadRequest, match="too long"):
        await reply(StandIn(), json_schema={})
    go_on.set()


async def test_one_schema_is_checked_once_for_all_the_replies_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask_slowly(schema: Any) -> str:
        asked.append(schema["type"])
        time.sleep(0.05)
        return "no good" if schema["type"] == "bad" else ""

    monkeypatch.setattr(json_schema, "why_not", ask_slowly)
    pipeline = Generation(Lender(StandIn([Text("{}"), Done("stop")])))
    for _ in range(2):
        await asyncio.gather(*(pipeline.run(ask(json_schema={"type": "object"})) for _ in range(4)))
        with pytest.raises(BadRequest, match="no good"):
            await pipeline.run(ask(json_schema={"type": "bad"}))
    assert asked == ["object", "bad"]


async def test_a_check_whose_asker_hangs_up_goes_on_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(json_schema, "why_not", lambda schema: "" if go_on.wait(3) else "nobody asked any more")
    pipeline = Generation(Lender(StandIn([Text("{}"), Done("stop")])))
    first, second = (asyncio.create_task(pipeline.run(ask(json_schema={}))) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go_on.set()
    assert (await second).text == "{}"


async def test_a_check_that_broke_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts: list[Any] = [OSError("no thread"), ""]

    def break_once(schema: Any) -> str:
        verdict = verdicts.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return str(verdict)

    monkeypatch.setattr(json_schema, "why_not", break_once)
    pipeline = Generation(Lender(StandIn([Text("{}"), Done("stop")])))
    with pytest.raises(EnginehouseError, match="failed"):
        await pipeline.run(ask(json_schema={}))
    assert (await pipeline.run(ask(json_schema={}))).text == "{}"


@pytest.mark.parametrize("text", ["Sure! Here it is", '{"a": 1', "", "{}}"])
async def test_a_reply_that_is_no_json_although_a_schema_was_given_is_said(text: str) -> None:
    result = await reply(StandIn([Text(text), Done("stop")]), json_schema={"$ref": "#"})
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


async def test_a_grammar_in_the_compilers_own_language_is_refused() -> None:
    with pytest.raises(BadParameter) as caught:
        await reply(StandIn(), grammar="\n%llguidance {}\nstart: %json {}")
    assert caught.value.param == "grammar"


async def test_a_schema_is_used_unchecked_without_the_compiler_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    result = await reply(StandIn([Text("1"), Done("stop")]), json_schema={})
    assert [notice.code for notice in result.notices] == ["schema_unchecked"]

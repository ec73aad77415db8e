"""A JSON schema or a grammar is honoured in every form clients send it, or refused; never dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modules.dialects.body import Body
from modules.dialects.constraints import ANY_OBJECT, Constraint, read_constraint
from modules.errors import BadParameter

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 10}}, "required": ["city"]}
TEXT = json.dumps(SCHEMA)
GBNF = 'root ::= "a"'
WRAPPED = {"name": "n", "schema": SCHEMA, "strict": True}


def form(**fields: Any) -> dict[str, Any]:
    return {"response_format": fields}


HONOURED: list[tuple[dict[str, Any], Constraint]] = [
    # OpenAI
    (form(type="json_schema", json_schema=WRAPPED), Constraint(schema=SCHEMA)),
    (form(type="json_schema", json_schema={**WRAPPED, "strict": None, "description": "d"}), Constraint(schema=SCHEMA)),
    (form(type="json_object"), Constraint(schema=ANY_OBJECT)),
    (form(type="text"), Constraint()),
    ({"response_format": None}, Constraint()),
    ({"response_format": "json_object"}, Constraint(schema=ANY_OBJECT)),
    # llama.cpp, llama-cpp-python, Together, Fireworks
    (form(type="json_object", schema=SCHEMA), Constraint(schema=SCHEMA)),
    (form(type="json_schema", schema=SCHEMA), Constraint(schema=SCHEMA)),
    ({"json_schema": SCHEMA}, Constraint(schema=SCHEMA)),
    ({"json_schema": SCHEMA, **form(type="json_object")}, Constraint(schema=SCHEMA)),
    ({"json_schema": SCHEMA, **form(type="json_schema")}, Constraint(schema=SCHEMA)),
    ({"json_schema": SCHEMA, **form(type="text")}, Constraint(schema=SCHEMA)),
    (form(type="json_schema", json_schema=SCHEMA), Constraint(schema=SCHEMA)),
    ({"grammar": GBNF}, Constraint(grammar=GBNF)),
    # text-generation-webui, TabbyAPI, SGLang
    ({"grammar_string": GBNF, "json_schema": None}, Constraint(grammar=GBNF)),
    ({"grammar_string": "", "json_schema": ""}, Constraint()),
    ({"json_schema": TEXT}, Constraint(schema=SCHEMA)),
    ({"json_schema": WRAPPED}, Constraint(schema=SCHEMA)),
    ({"ebnf": GBNF}, Constraint(grammar=GBNF)),
    # vLLM
    ({"guided_json": SCHEMA}, Constraint(schema=SCHEMA)),
    ({"guided_json": TEXT, "guided_decoding_backend": "xgrammar"}, Constraint(schema=SCHEMA)),
    ({"guided_grammar": GBNF}, Constraint(grammar=GBNF)),
    ({"guided_choice": ["yes", 'n"o\n']}, Constraint(grammar='root ::= "yes" | "n\\"o\\n"')),
    ({"structured_outputs": {"json": SCHEMA}}, Constraint(schema=SCHEMA)),
    ({"structured_outputs": {"grammar": GBNF, "regex": None}}, Constraint(grammar=GBNF)),
    ({"structured_outputs": {"choice": ["a", "b"]}}, Constraint(grammar='root ::= "a" | "b"')),
    ({"structured_outputs": {"json_object": True}}, Constraint(schema=ANY_OBJECT)),
    # text-generation-inference, TensorRT-LLM
    (form(type="json", value=SCHEMA), Constraint(schema=SCHEMA)),
    (form(type="json", schema=SCHEMA), Constraint(schema=SCHEMA)),
    (form(type="ebnf", ebnf=GBNF), Constraint(grammar=GBNF)),
    (form(type="grammar", grammar=GBNF), Constraint(grammar=GBNF)),
    # the same twice
    ({"guided_json": SCHEMA, **form(type="json_object", schema=SCHEMA)}, Constraint(schema=SCHEMA)),
]


@pytest.mark.parametrize(("fields", "wanted"), HONOURED, ids=lambda value: str(value)[:60])
def test_a_form_that_clients_send_is_honoured(fields: dict[str, Any], wanted: Constraint) -> None:
    body = Body(fields)
    assert read_constraint(body)[0] == wanted
    assert body.unknown() == ()


REFUSED: list[tuple[dict[str, Any], str]] = [
    (form(type="xml"), "response_format.type"),
    (form(type=5), "response_format.type"),
    (form(type="regex", regex="a+"), "response_format.type"),
    (form(type="json_schema"), "response_format.json_schema.schema"),
    (form(type="json_schema", json_schema={"name": "n"}), "response_format.json_schema.schema"),
    (form(type="json_schema", json_schema={"name": "n", "schema": "x"}), "response_format.json_schema.schema"),
    (form(type="json_object", schema="{"), "response_format.schema"),
    (form(type="grammar"), "response_format.grammar"),
    ({"response_format": []}, "response_format"),
    ({"guided_regex": "a+"}, "guided_regex"),
    ({"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag"),
    ({"guided_choice": []}, "guided_choice"),
    ({"guided_choice": ["", "a"]}, "guided_choice"),
    ({"json_schema": [1]}, "json_schema"),
    ({"grammar": GBNF, "json_schema": SCHEMA}, "grammar"),
    ({"grammar": GBNF, **form(type="json_object", schema=SCHEMA)}, "grammar"),
    ({"guided_json": SCHEMA, "json_schema": {"type": "array"}}, "guided_json"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_form_that_is_not_understood_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadParameter) as caught:
        read_constraint(Body(fields))
    assert caught.value.param == param


def test_what_a_form_holds_beside_it_is_named() -> None:
    body = Body({**form(type="json_object", schema=SCHEMA, style="terse"), "structured_outputs": {"odd": 1},
                 "guided_whitespace_pattern": " "})  # fmt: skip
    _, notices = read_constraint(body)
    assert [notice.param for notice in notices] == ["guided_whitespace_pattern"]
    assert [notice.param for notice in body.unknown()] == ["response_format.style", "structured_outputs.odd"]

"""How large schemas and grammars may be."""

from __future__ import annotations

from typing import Any

import pytest

from modules.errors import BadParameter
from modules.grammars.limits import check_grammar_size, check_schema_size


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(5000), {"enum": ["x" * 1_000_000]}, {"enum": list(range(30_000))}, {"type": "array", "minItems": 1e9},
        {"type": "string", "minLength": 10**30}, {"items": {"minProperties": 200_000}},
        {f"{number}" * 100: {} for number in range(5000)},
    ],
    ids=["deep", "long text", "many values", "minItems", "minLength", "minProperties", "long names"],
)  # fmt: skip
def test_a_schema_that_is_too_large_is_refused_before_it_is_compiled(schema: dict[str, Any]) -> None:
    with pytest.raises(BadParameter) as caught:
        check_schema_size(schema)
    assert (caught.value.code, caught.value.param) == ("schema_too_large", "response_format")


def test_ordinary_schemas_pass() -> None:
    check_schema_size(nested(20))
    check_schema_size({"type": "array", "minItems": 3, "maxItems": 10**9, "items": {"enum": ["a"] * 1000}})


def test_a_grammar_that_is_too_long_is_refused() -> None:
    check_grammar_size('root ::= "a"')
    with pytest.raises(BadParameter) as caught:
        check_grammar_size("#" * 300_000)
    assert caught.value.code == "grammar_too_large"

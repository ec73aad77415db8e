"""How large a JSON schema or a grammar may be. Everything here is linear in its size, and nothing recurses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.errors import BadParameter

MAX_SCHEMA_DEPTH = 64
MAX_SCHEMA_VALUES = 20_000
"""Objects, lists and plain values of a schema, all together."""
MAX_SCHEMA_CHARS = 256_000
"""Characters of all names and texts of a schema, all together."""
MAX_COUNT = 100_000
"""The largest `minItems`, `minLength` and the like: more than any reply has."""
MAX_GRAMMAR_CHARS = 200_000
_COUNTS = ("minItems", "minLength", "minProperties", "minContains")


def check_schema_size(schema: Mapping[str, Any]) -> None:
    """Raises BadParameter (code "schema_too_large") that names the bound a schema breaks."""
    values = chars = 0
    waiting: list[tuple[Any, int]] = [(schema, 1)]
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if isinstance(value, Mapping):
            for name in value:
                chars += len(str(name))
            for name in _COUNTS:
                count = value.get(name)
                if isinstance(count, (int, float)) and count > MAX_COUNT:
                    raise _too_large(f"its {name} is above {MAX_COUNT:,}")
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend((inner, depth + 1) for inner in value)
        elif isinstance(value, str):
            chars += len(value)
        if depth > MAX_SCHEMA_DEPTH:
            raise _too_large(f"it is nested more than {MAX_SCHEMA_DEPTH} deep")
        if values + len(waiting) > MAX_SCHEMA_VALUES:
            raise _too_large(f"it has more than {MAX_SCHEMA_VALUES:,} values")
        if chars > MAX_SCHEMA_CHARS:
            raise _too_large(f"its texts have more than {MAX_SCHEMA_CHARS:,} characters")


def check_grammar_size(grammar: str) -> None:
    """Raises BadParameter (code "grammar_too_large") for a text that is too long to be looked at."""
    if len(grammar) > MAX_GRAMMAR_CHARS:
        raise BadParameter(
            f"The grammar has {len(grammar):,} characters, and at most {MAX_GRAMMAR_CHARS:,} are read.",
            hint="Make the grammar shorter.", param="grammar", code="grammar_too_large",
        )  # fmt: skip


def _too_large(why: str) -> BadParameter:
    return BadParameter(f"This JSON schema cannot be enforced: {why}.", hint="Make the schema smaller.",
                        param="response_format", code="schema_too_large")  # fmt: skip

"""What a reply has to follow (a JSON schema or a grammar), in every form clients send it.

Sources: OpenAI, "Structured model outputs"; llama.cpp, tools/server/README.md; vLLM, "Structured outputs" (guided_*
until 0.12, structured_outputs since); SGLang, "Structured outputs"; text-generation-inference, "Guidance";
TensorRT-LLM, "Guided decoding"; llama-cpp-python, Together and Fireworks, "JSON mode".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from modules.dialects.body import Body
from modules.errors import BadParameter
from modules.types import Notice

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
MOST_CHOICES = 1000
KINDS = ("text", "json_object", "json_schema", "json", "grammar", "ebnf", "gbnf", "choice")
_REGEX = "Replies that follow a regular expression are not offered."
_TAGS = "Structural tags are not offered."
_REFUSED = {
    "regex": _REGEX, "guided_regex": _REGEX, "regex_pattern": _REGEX,
    "structural_tag": _TAGS, "guided_structural_tag": _TAGS,
}  # fmt: skip
_SCHEMA_WORDS = frozenset({"type", "properties", "$ref", "$defs", "anyOf", "allOf", "oneOf", "enum", "const", "items"})
_ABOUT_SPEED = ("guided_decoding_backend", "guided_whitespace_pattern")
_SETTINGS = ("whitespace_pattern", "disable_any_whitespace", "disable_fallback", "disable_additional_properties")


@dataclass(frozen=True, slots=True)
class Constraint:
    """At most one of the two: `grammar` is GBNF, "" = none; `schema` a JSON schema, None = none."""

    grammar: str = ""
    schema: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        return bool(self.grammar) or self.schema is not None


def read_constraint(body: Body) -> tuple[Constraint, tuple[Notice, ...]]:
    """Take every field that constrains the reply out of `body`.

    Raises BadParameter for what cannot be read or is not offered, and where two fields ask for different things.
    """
    _refuse(body)
    notices = [_without_effect(body, name) for name in _ABOUT_SPEED if body.take(name)]
    found: list[tuple[str, Constraint]] = [*_response_format(body), *_structured_outputs(body, notices)]
    for name, read in _TOP_LEVEL.items():
        if body.has(name) and (constraint := read(body, name)):
            found.append((name, constraint))
    asked = [(name, constraint) for name, constraint in found if constraint]
    if len(asked) > 1:  # json_object asks for any object, which a schema beside it says more exactly
        asked = [one for one in asked if one[1].schema is not ANY_OBJECT] or asked[:1]
    for name, constraint in asked[1:]:
        if constraint != asked[0][1]:
            raise BadParameter(f"{asked[0][0]} and {name} ask for different things, and a reply can follow only one.",
                               hint="Leave one of them out.", param=name)  # fmt: skip
    return (asked[0][1] if asked else Constraint()), tuple(notices)


def _response_format(body: Body) -> Iterator[tuple[str, Constraint]]:
    value = body.take("response_format", {})
    if isinstance(value, str):  # the type alone
        value = {"type": value}
    if not isinstance(value, dict):
        raise body.wrong("response_format", value, "an object")
    form = body.enter("response_format", value)
    kind = form.take("type", "text")
    if kind in _REFUSED:
        raise _not_offered(form.path("type"), _REFUSED[kind])
    if not isinstance(kind, str) or kind not in KINDS:
        raise form.wrong("type", kind, "one of " + ", ".join(KINDS))
    if kind in ("json_object", "json_schema", "json"):
        schema = _format_schema(form)
        if schema is None and kind == "json_schema" and not body.has("json_schema"):
            path = form.path("json_schema.schema")
            raise BadParameter(f"{path} has to be a JSON schema.", param=path)
        yield form.where, Constraint(schema=ANY_OBJECT if schema is None else schema)
    elif kind == "choice":
        yield form.where, _choices(form, "choice" if form.has("choice") else "value")
    elif kind != "text":
        name = next((name for name in (kind, "grammar", "value") if form.has(name)), "grammar")
        text = form.text(name)
        if not text:
            raise BadParameter(f"{form.path(name)} has to be a grammar.", param=form.path(name))
        yield form.where, Constraint(grammar=text)


def _format_schema(form: Body) -> Mapping[str, Any] | None:
    """The schema of a response_format: {json_schema: {schema}}, {json_schema: …}, {schema: …} or {value: …}."""
    name = next((name for name in ("json_schema", "schema", "value") if form.has(name)), None)
    return None if name is None else _schema(form, name).schema


def _structured_outputs(body: Body, notices: list[Notice]) -> Iterator[tuple[str, Constraint]]:
    outer = body.inner("structured_outputs")
    _refuse(outer)
    notices += [_without_effect(outer, name) for name in _SETTINGS if outer.take(name)]
    outer.take("_backend")
    if outer.flag("json_object"):
        yield outer.path("json_object"), Constraint(schema=ANY_OBJECT)
    for name, read in (("json", _schema), ("grammar", _grammar), ("choice", _choices)):
        if outer.has(name):
            yield outer.path(name), read(outer, name)


def _schema(body: Body, name: str) -> Constraint:
    """A JSON schema, bare or as OpenAI wraps it ({name, schema, strict}), also in a string; "" is none."""
    value = body.take(name)
    if isinstance(value, str) and not value.strip():
        return Constraint()
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            raise body.wrong(name, value, "a JSON schema") from None
    if not isinstance(value, dict):
        raise body.wrong(name, value, "a JSON schema")
    if not value or _SCHEMA_WORDS & value.keys() or not {"schema", "name", "strict"} & value.keys():
        return Constraint(schema=value)
    inner = body.enter(name, value)
    for known in ("name", "description", "strict"):  # replies follow the schema strictly in any case
        inner.take(known)
    schema = inner.take("schema")
    if not isinstance(schema, dict):
        raise inner.wrong("schema", schema, "a JSON schema")
    return Constraint(schema=schema)


def _grammar(body: Body, name: str) -> Constraint:
    return Constraint(grammar=body.text(name))


def _choices(body: Body, name: str) -> Constraint:
    """One of these texts, as a grammar."""
    texts = body.items(name, MOST_CHOICES)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise body.wrong(name, texts, "a list of texts that are not empty")
    return Constraint(grammar="root ::= " + " | ".join(map(_quoted, texts)))


def _quoted(text: str) -> str:
    """A GBNF literal."""
    plain = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(plain.get(char) or (char if char >= " " else f"\\x{ord(char):02X}") for char in text) + '"'


_TOP_LEVEL: Mapping[str, Callable[[Body, str], Constraint]] = {
    "json_schema": _schema, "guided_json": _schema, "grammar": _grammar, "grammar_string": _grammar, "ebnf": _grammar,
    "guided_grammar": _grammar, "guided_choice": _choices,
}  # fmt: skip
FIELDS = ("response_format", "structured_outputs", *_TOP_LEVEL, *_ABOUT_SPEED, *_REFUSED)
"""Names that `read_constraint` takes."""


def _refuse(body: Body) -> None:
    for name, why in _REFUSED.items():
        if body.take(name):
            raise _not_offered(body.path(name), why)


def _not_offered(path: str, why: str) -> BadParameter:
    return BadParameter(f"{path} cannot be used: {why}", hint="Use a JSON schema, or a grammar in GBNF.", param=path,
                        code="unsupported")  # fmt: skip


def _without_effect(body: Body, name: str) -> Notice:
    path = body.path(name)
    return Notice("without_effect", f"{path} has no effect: the loader decides how it is enforced.", param=path)

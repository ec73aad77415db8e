"""The outermost layer, in process: what a body may be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from modules.api import bodies
from modules.api.errors import from_validation
from tests.api.guarding import ask, guard


def post(body: bytes, kind: str = "application/json", path: str = "/api/x", **headers: str) -> httpx.Response:
    return ask(guard(), "POST", path, content=body, headers={"content-type": kind, **headers})


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    assert post(b" " * (bodies.LIMIT + 1)).status_code == 413
    assert post(b"{}", **{"content-length": "9" * 30}).status_code == 413
    assert post(b"{}", **{"content-length": "-5"}).status_code == 400


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
def test_a_chunked_body_is_counted_while_it_comes(kind: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(22):
            yield b" " * (1024 * 1024)

    answer = ask(guard(), "POST", content=pieces(), headers={"content-type": kind})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx", "text/json"]
)
def test_a_body_that_is_not_marked_as_json_is_refused(kind: str) -> None:
    answer = post(b'{"a": 1}', kind)
    assert answer.status_code == 415
    assert post(b"key=x", "application/x-www-form-urlencoded", "/login").status_code == 200


@pytest.mark.parametrize(
    ("text", "depth"),
    [("1", 0), ("[]", 1), ('{"a": [{}]}', 3), ('"[[[["', 4), (r'["\"[[[["]', 5), ("[" * 64 + "]" * 64, 64)],
)
def test_short_json_is_never_taken_for_shallower_than_it_is(text: str, depth: int) -> None:
    assert bodies.depth_of(text.encode()) == depth


def test_brackets_inside_strings_do_not_count_in_long_json() -> None:
    text = json.dumps({"a": "[" * 1000, "b": '\\"[[' * 100, "c": [{"d": []}] * 50})
    assert bodies.depth_of(text.encode()) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 200_000,
        b'{"a":[' * 100_000,
        b'["' + b"\\\\" * 9 + b'",' + b"[" * 70 + b"]" * 70 + b"]",
        b"[[],[]," + b"[" * 64 + b"]" * 64 + b"]",
    ],
)
def test_deep_json_is_refused(body: bytes) -> None:
    answer = post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "json_too_deep"


def test_wide_json_and_depth_at_the_limit_pass() -> None:
    assert post(b"[" + b"[],{}," * 300_000 + b"1]", path="/v1/x").status_code == 200
    assert post(b"[[],[]," + b"[" * 63 + b"]" * 63 + b"]").status_code == 200


@pytest.mark.parametrize("body", [b'"\xff"', b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'["\\ud83d\\u0041"]'])
def test_text_that_cannot_be_saved_is_refused(body: bytes) -> None:
    answer = post(body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


def test_escaped_emoji_pass() -> None:
    assert post(b'{"a": "\\ud83d\\ude00 \\\\ud800"}').status_code == 200


def test_a_body_with_a_million_values_is_refused_before_a_route_loops_over_it() -> None:
    many = b'{"settings": {' + b",".join(b'"%d":[]' % n for n in range(150_000)) + b"}}"
    answer = ask(guard(), "PATCH", content=many, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "json_too_large")
    for fine in (b'{"text": "' + b"," * 300_000 + b'"}', b'{"text": "\\\\\\"' + b"," * 300_000 + b'"}'):
        assert ask(guard(), "POST", content=fine, headers={"content-type": "application/json"}).status_code == 200
    ids = b'{"prompt": [' + b",".join([b"1"] * 150_000) + b"]}"
    assert ask(guard(), "POST", "/v1/x", content=ids, headers={"content-type": "application/json"}).status_code == 200


@pytest.mark.parametrize(
    "problem",
    [{"loc": ("body", "x" * 10_000_000), "type": "extra_forbidden", "msg": "no"},
     {"loc": ("body", "a"), "type": "literal_error", "msg": "not " + "y" * 10_000_000}],
)  # fmt: skip
def test_an_error_does_not_echo_the_body(problem: dict[str, Any]) -> None:
    assert len(json.dumps(from_validation([problem]).as_dict())) < 2000

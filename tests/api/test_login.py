"""The login page: where it leads afterwards, and how much it reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from modules.api.login import _PAGE
from modules.ui.gate import Gate
from tests.api.guarding import KEY, ask, guard
from tests.js.node_tools import Unavailable, node, run

HERE = "http://localhost:7860"


def test_the_login_page_leads_to_addresses_of_this_server_only() -> None:
    cases = {
        "/docs": f"{HERE}/docs", "/?chat=1#end": f"{HERE}/?chat=1#end", "docs": f"{HERE}/docs", "": f"{HERE}/",
        "/..//evil.example": f"{HERE}//evil.example",
        **dict.fromkeys(
            ["//evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil.example", "/\r/evil.example",
             "\t//evil.example", "https://evil.example", "javascript:alert(1)", "data:text/html,x", "http://",
             "///evil.example"],
            f"{HERE}/",
        ),
    }  # fmt: skip
    start = _PAGE.index("const inside")
    function = _PAGE[start : _PAGE.index("const go")]
    code = f"{function} console.log(JSON.stringify({json.dumps([*cases])}.map(text => inside(text, '{HERE}'))))"
    try:
        ended = run([str(node()), "-e", code])
    except Unavailable as error:
        pytest.skip(str(error))
    assert dict(zip(cases, json.loads(ended.output), strict=True)) == cases


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_for_the_login_page_is_small(kind: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 5000

    for content in (b"x" * 5000, pieces()):
        answer = ask(guard(KEY), "POST", "/login", headers={"content-type": kind}, content=content)
        assert answer.status_code == 413
        assert "4 KB" in answer.json()["error"]["message"]


def test_the_page_library_lets_no_other_origin_read() -> None:
    async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Access-Control-Allow-Origin", b"https://evil.example"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page"})

    secured = guard()
    secured.app = Gate(gradio)  # type: ignore[arg-type]
    answer = ask(secured, path="/", headers={"origin": "https://evil.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-type"] == "text/plain"

"""A second API dialect on the kit, which touches one file: NDJSON and WebSocket, errors in its own shape everywhere."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient

from modules.api import errors
from modules.api.auth import Auth
from modules.api.origins import OriginPolicy
from modules.api.security import Security
from modules.api.ui_placeholder import UiPlaceholder
from modules.dialects.dialect import Dialect, dialect_of
from modules.errors import EnginehouseError, NotFound
from modules.extension_api import Body, ExtensionContext, ModelAccess, serve_socket
from modules.generation.pipeline import Generation
from modules.types import Done, Failed, Stats, Text
from tests.api.guarding import KEY
from tests.dialects.tiny_dialect import TINY, routes
from tests.engine_stand_in import Lender, StandIn


class OneModel:
    """A catalogue with nothing in it, and a model that is loaded."""

    status = SimpleNamespace(model="stand-in")

    def scan(self) -> tuple[Any, ...]:
        return ()

    def get(self, name: str) -> Any:
        raise NotFound("There is no such model.", code="model_not_found")


def server(engine: StandIn | None = None, key: str = "") -> Security:
    """The dialect behind everything the real server puts around it."""
    engine = engine or StandIn([Text("a "), Text("b"), Done("stop", Stats(3, 0, 2))])
    models: Any = OneModel()
    context = ExtensionContext(
        "tiny", Path(), {}, Generation(Lender(engine)), ModelAccess(models, models), None, None,  # type: ignore[arg-type]
        logging.getLogger("test"),
    )  # fmt: skip
    api = FastAPI(redirect_slashes=False)
    errors.install(api, [TINY])
    api.include_router(routes(context))
    api.router.default = UiPlaceholder(expected=True, dialects=[TINY])
    return Security(api, OriginPolicy.of("127.0.0.1", (), (), bool(key)), Auth(key), [TINY])


def ask(app: Security, method: str = "POST", path: str = "/tiny/generate", **more: Any) -> httpx.Response:
    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **more)

    return asyncio.run(go())


def test_it_streams_lines_of_json() -> None:
    answer = ask(server(), json={"prompt": "x", "options": {"top_k": -1, "odd": 1}, "stop": [""], "stray": 1})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"response": "a ", "done": False},
        {"response": "b", "done": False},
        {"response": "", "done": True, "ignored": ["stray", "options.odd"]},
    ]


def test_it_answers_whole_and_reads_sampling_and_constraints() -> None:
    engine = StandIn([Text("{}"), Done("stop", Stats(3, 0, 2))])
    body = {"prompt": "x", "stream": "false", "options": {"temp": "0.5"}, "guided_json": '{"type": "object"}'}
    answer = ask(server(engine), json=body)
    assert answer.json() == {"response": "{}", "done": True, "eval_count": 2, "ignored": []}
    (request,) = engine.requests
    assert request.params["temperature"] == 0.5
    assert request.json_schema == {"type": "object"}


def test_an_error_after_the_first_piece_is_the_last_line() -> None:
    engine = StandIn([Text("a"), Failed(EnginehouseError("It broke.").as_dict())])
    lines = [json.loads(line) for line in ask(server(engine), json={"prompt": "x"}).text.splitlines()]
    assert lines[0] == {"response": "a", "done": False}


CURL = {"content-type": "application/x-www-form-urlencoded"}
BEFORE: list[tuple[int, dict[str, Any]]] = [
    (401, {"key": KEY, "json": {}}),
    (403, {"headers": {"host": "evil.example"}, "json": {}}),
    (403, {"headers": {"origin": "https://evil.example"}, "json": {}}),
    (400, {"json": {"prompt": "x", "options": {"temperature": "hot"}}}),
    (400, {"content": b"{", "headers": {"content-type": "application/json"}}),
    (404, {"path": "/tiny/nowhere", "json": {}}),
    (404, {"path": "/tiny", "method": "GET"}),
    (404, {"json": {"model": "nope", "prompt": "x"}}),
    (405, {"method": "DELETE"}),
    (413, {"content": b"[" + b" " * (21 << 20), "headers": {"content-type": "application/json"}}),
    (415, {"content": b'{"prompt": "x"}', "headers": CURL}),
]


@pytest.mark.parametrize(("status", "how"), BEFORE, ids=lambda value: str(value)[:40])
def test_an_error_has_the_dialects_shape_wherever_it_is_raised(status: int, how: dict[str, Any]) -> None:
    how = dict(how)
    answer = ask(server(key=how.pop("key", "")), **how)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert isinstance(answer.json()["error"], str)
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_what_curl_sends_by_itself_is_answered_with_the_header_to_add() -> None:
    for path, told in (("/tiny/generate", lambda e: e["error"]), ("/api/x", lambda e: e["error"]["message"])):
        answer = ask(server(), path=path, content=b'{"prompt": "x"}', headers=CURL)
        assert "application/x-www-form-urlencoded" in told(answer.json())
    assert "-H 'Content-Type: application/json'" in answer.json()["error"]["hint"]


def test_other_addresses_keep_the_servers_own_shape() -> None:
    answer = ask(server(), path="/tinyother", json={})
    assert answer.status_code == 503
    assert set(ask(server(key=KEY), path="/tinyother", json={}).json()["error"]) > {"hint", "code"}


def test_the_longest_prefix_wins_and_a_broken_shape_still_answers() -> None:
    def broken(error: EnginehouseError) -> Any:
        raise KeyError(error)

    wide, narrow = Dialect("wide", ("/v1",), lambda error: {}), Dialect("narrow", ("/v1/messages/",), broken)
    assert dialect_of("/v1/chat", [narrow, wide]) is wide
    assert dialect_of("/v1/messages", [wide, narrow]) is narrow
    assert dialect_of("/v1x", [wide, narrow]) is None
    answer = errors.answer_at(NotFound("Nothing."), "/v1/messages/x", [wide, narrow])
    assert (answer.status_code, json.loads(bytes(answer.body))["error"]["message"]) == (404, "Nothing.")


@pytest.fixture
def socket() -> Iterator[Any]:
    made = TestClient(server(), base_url="http://localhost").websocket_connect(
        "/tiny/live", headers={"host": "localhost"}
    )
    # The test client cancels the application as it leaves, and may report that cancel as its own end.
    with contextlib.suppress(concurrent.futures.CancelledError), made as session:
        yield session


def test_a_websocket_answers_request_after_request_and_survives_a_bad_one(socket: Any) -> None:
    for _ in range(2):
        socket.send_text('{"prompt": "x"}')
        assert [socket.receive_json()["response"] for _ in range(3)] == ["a ", "b", ""]
        socket.send_text("{")
        assert set(socket.receive_json()) == {"error"}


def test_a_hang_up_of_a_websocket_ends_the_reply() -> None:
    closed = asyncio.Event()

    async def reply(body: Body) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def go() -> None:
        sent = asyncio.Event()
        came: list[Any] = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "{}"}]

        async def receive() -> Any:
            if came:
                return came.pop(0)
            await sent.wait()
            return {"type": "websocket.disconnect"}

        async def send(message: Any) -> None:
            if message.get("text") == "first":
                sent.set()

        await serve_socket(TINY, reply, WebSocket({"type": "websocket"}, receive, send))
        assert closed.is_set()

    asyncio.run(asyncio.wait_for(go(), 20))

"""What the driver asks a llama-server beyond replies, against servers that answer well and badly."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from loaders.llama_cpp import SPEC
from loaders.openai_endpoint import SPEC as ENDPOINT
from loaders.text.media_mark import MEDIA_MARK
from modules.drivers.llama_embeddings import embeddings, ranking
from modules.drivers.llama_errors import refusal
from modules.drivers.llama_server import LlamaServerEngine
from modules.errors import BadRequest, ContextOverflow, EngineError, Unsupported
from modules.types import Endpoint, EngineInfo
from tests.drivers.openai_making import driver
from tests.drivers.test_http_client import OK, STREAM, Answer, chunk, served
from tests.engine.asking import embed, rerank
from tests.engine.making import ask, ask_with_images, collect, done_of, failed_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]
END = b'data: {"content":"","tokens_predicted":1,"tokens_evaluated":1,"stop":true,"stop_type":"eos"}\n\n'


def answering(path: str, make: Callable[[Any], Any], status: bytes = b"200 OK") -> Answer:
    """A server with one path; replies of /completion end at once."""

    async def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        if b" /completion " in head.split(b"\r\n")[0]:
            writer.write(STREAM + chunk(END) + b"0\r\n\r\n")
            return
        assert f" {path} ".encode() in head.split(b"\r\n")[0], head
        data = orjson.dumps(make(json.loads(body) if body else None))
        writer.write(OK.replace(b"200 OK", status) + b"Content-Length: %d\r\n\r\n" % len(data) + data)

    return answer


def engine_at(port: int, **info: Any) -> LlamaServerEngine:
    endpoint = Endpoint(f"http://127.0.0.1:{port}", "", "llama-server")
    return LlamaServerEngine(endpoint, EngineInfo("m", "llama.cpp", 64, slots=2, **info), SPEC)


async def test_vectors_come_in_the_order_of_the_texts_and_with_length_one() -> None:
    def make(body: Any) -> Any:
        entries = [{"index": n, "embedding": [3.0 * (n + 1), 4.0 * (n + 1)]} for n in range(len(body["input"]))]
        return {"data": entries[::-1], "usage": {"prompt_tokens": 5}}

    async with served(answering("/v1/embeddings", make)) as (_, client):
        engine = engine_at(client.port, features=("embeddings",))
        found = await embed(engine, ["a", "b"])
        assert found.vectors == (pytest.approx((0.6, 0.8)), pytest.approx((0.6, 0.8)))
        assert found.tokens == 5
        assert failed_of(await collect(engine, ask("x"))).error["param"] == "model"
        await engine.close()


async def test_a_mark_for_images_that_a_person_typed_does_not_reach_the_engine() -> None:
    heard: list[Any] = []

    def make(body: Any) -> Any:
        heard.append(body["input"])
        return {"data": [{"index": 0, "embedding": [1.0]}], "usage": {}}

    async with served(answering("/v1/embeddings", make)) as (_, client):
        engine = engine_at(client.port, features=("embeddings",))
        await embed(engine, [f"a {MEDIA_MARK}"])
        assert MEDIA_MARK not in heard[0][0]
        await engine.close()


@pytest.mark.parametrize("flavour", ["llama-server", "openai"])
async def test_vectors_are_computed_where_they_hold_up_nobody(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[threading.Thread] = []
    real = math.sqrt

    def watched(value: float) -> float:
        where.append(threading.current_thread())
        return real(value)

    made = {"data": [{"index": 0, "embedding": [3.0, 4.0]}]}
    async with served(answering("/v1/embeddings", lambda _: made)) as (_, client):
        here = engine_at(client.port, features=("embeddings",))
        engine = here if flavour == "llama-server" else driver(f"http://127.0.0.1:{client.port}", key="")
        monkeypatch.setattr(math, "sqrt", watched)
        await embed(engine, ["a"])
        monkeypatch.undo()
        assert where
        assert threading.current_thread() not in where
        await engine.close()


async def test_scores_come_in_the_order_of_the_documents() -> None:
    def make(body: Any) -> Any:
        assert body["query"] == "q"
        results = [{"index": n, "relevance_score": -float(n)} for n in range(len(body["documents"]))]
        return {"results": results[::-1], "usage": {"prompt_tokens": 7, "total_tokens": 7}}

    async with served(answering("/v1/rerank", make)) as (_, client):
        engine = engine_at(client.port, features=("rerank",))
        found = await rerank(engine, "q", ["a", "b", "c"])
        assert found.scores == (0.0, -1.0, -2.0)
        assert found.tokens == 7
        with pytest.raises(Unsupported):
            await embed(engine, ["a"])
        await engine.close()


async def test_a_server_that_has_no_embeddings_says_so_itself() -> None:
    error = {
        "error": {"message": "This server does not support embeddings.", "type": "not_supported_error", "code": 501}
    }
    async with served(answering("/v1/embeddings", lambda _: error, b"501 Not Implemented")) as (_, client):
        engine = engine_at(client.port)
        with pytest.raises(EngineError, match="does not support embeddings"):
            await embed(engine, ["a"])
        await engine.close()


@pytest.mark.parametrize(
    "entries", [[], [{"index": 1, "embedding": [1.0]}], [{"index": 0, "embedding": [[1.0], [2.0]]}]]
)
def test_vectors_that_are_not_one_a_text_are_an_error(entries: Any) -> None:
    with pytest.raises(EngineError):
        embeddings({"data": entries}, 1)
    with pytest.raises(EngineError):
        ranking({"results": []}, 1)


@pytest.mark.parametrize(
    "entry", [{"index": 0}, {}, {"index": "x"}, {"index": 0, "embedding": [None]}, {"index": 0, "embedding": 5}, 7]
)
def test_what_is_no_vector_and_no_score_is_the_engines_fault(entry: Any) -> None:
    with pytest.raises(EngineError):
        embeddings({"data": [entry]}, 1)
    with pytest.raises(EngineError):
        ranking({"results": [entry]}, 1)


async def test_a_server_of_others_is_asked_to_compute_a_prompt_anew_where_adapters_are_mixed() -> None:
    async with served(answering("/slots", lambda _: [])) as (server, client):
        engine = engine_at(client.port, adapters={"a": 1.0})
        done_of(await collect(engine, ask("One")))
        done_of(await collect(engine, ask("One", lora={"a": 0.25})))
        bodies = [json.loads(request.split(b"\r\n\r\n", 1)[1]) for request in server.requests]
        assert [body["cache_prompt"] for body in bodies] == [False, False]
        assert [body["lora"] for body in bodies] == [[{"id": 0, "scale": 1.0}], [{"id": 0, "scale": 0.25}]]
        with pytest.raises(Unsupported):
            await engine.save_slot("a", "One")
        await engine.close()


def listing(*names: str) -> Any:
    return [{"id": number, "path": f"/x/{name}.gguf", "scale": 9.0} for number, name in enumerate(names)]


def far_engine(port: int, **info: Any) -> LlamaServerEngine:
    endpoint = Endpoint(f"http://127.0.0.1:{port}", "", "llama-server", hosted=False)
    return LlamaServerEngine(endpoint, EngineInfo("m", "x", 64, **info), ENDPOINT)


async def test_adapters_of_a_server_of_others_are_sent_by_the_numbers_it_has_for_them_now() -> None:
    """Started anew it may count others, and takes any number without a word."""
    lists = iter((listing("one", "two"), listing("two", "one")))
    async with served(answering("/lora-adapters", lambda _: next(lists))) as (server, client):
        engine = far_engine(client.port, adapters={"one": 1.0, "two": 0.5})
        for lora in (None, {"one": 0.25}):
            done_of(await collect(engine, ask("One", lora=lora)))
        sent = [json.loads(request.split(b"\r\n\r\n", 1)[1]) for request in server.requests if b"POST" in request]
        assert [[(one["id"], one["scale"]) for one in body["lora"]] for body in sent] == [
            [(0, 1.0), (1, 0.5)], [(0, 0.0), (1, 0.25)]]  # fmt: skip
        assert [body["cache_prompt"] for body in sent] == [False, False]
        await engine.close()


@pytest.mark.parametrize(
    ("listed", "status", "code"),
    [
        (listing("one"), b"200 OK", "adapters_changed"), (listing(), b"200 OK", "adapters_changed"),
        (listing("one", "three"), b"200 OK", "adapters_changed"), ([{"id": 5}], b"200 OK", "engine_error"),
        ({}, b"404 Not Found", "endpoint_not_found"), ({}, b"502 Bad Gateway", "engine_unavailable"),
    ],
)  # fmt: skip
async def test_a_server_of_others_with_other_adapters_than_before_writes_nothing(
    listed: Any, status: bytes, code: str
) -> None:
    async with served(answering("/lora-adapters", lambda _: listed, status)) as (server, client):
        engine = far_engine(client.port, adapters={"one": 1.0, "two": 0.5})
        error = failed_of(await collect(engine, ask("One"))).error
        assert error["code"] == code
        assert not [request for request in server.requests if b"POST" in request]
        await engine.close()


async def test_a_server_without_adapters_is_not_asked_for_them() -> None:
    async with served(answering("/lora-adapters", lambda _: [])) as (server, client):
        engine = far_engine(client.port)
        done_of(await collect(engine, ask("One")))
        assert len(server.requests) == 1
        await engine.close()


async def test_the_servers_own_mark_is_asked_for_once() -> None:
    async with served(answering("/props", lambda _: {"media_marker": "<here>"})) as (server, client):
        engine = engine_at(client.port)
        for _ in range(2):
            done_of(await collect(engine, ask_with_images(f"A {MEDIA_MARK}", images=("aGk=",))))
        sent = [json.loads(request.split(b"\r\n\r\n", 1)[1]) for request in server.requests if b"POST" in request]
        assert [body["prompt"]["prompt_string"] for body in sent] == ["A <here>", "A <here>"]
        assert sum(request.startswith(b"GET /props") for request in server.requests) == 1
        await engine.close()


async def test_the_mark_of_a_server_of_others_is_asked_for_each_time_for_it_may_have_been_started_anew() -> None:
    marks = iter(("<first>", "<second>"))
    async with served(answering("/props", lambda _: {"media_marker": next(marks)})) as (server, client):
        endpoint = Endpoint(f"http://127.0.0.1:{client.port}", "", "llama-server", hosted=False)
        engine = LlamaServerEngine(endpoint, EngineInfo("m", "llama.cpp", 64), SPEC)
        for _ in range(2):
            done_of(await collect(engine, ask_with_images(f"A {MEDIA_MARK}", images=("aGk=",))))
        sent = [json.loads(request.split(b"\r\n\r\n", 1)[1]) for request in server.requests if b"POST" in request]
        assert [body["prompt"]["prompt_string"] for body in sent] == ["A <first>", "A <second>"]
        await engine.close()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("input (202 tokens) is too large to process. increase the physical batch size", ContextOverflow),
        ("Failed to load image or audio file", BadRequest),
        ("number of bitmaps (1) does not match number of markers (0)", BadRequest),
    ],
)
def test_what_is_the_callers_fault_is_told_as_such(said: str, kind: type[Exception]) -> None:
    assert type(refusal(500, orjson.dumps({"error": {"message": said, "code": 500}}))) is kind

"""/v1/embeddings and /v1/rerank, with the real client, with a stand-in, and with anything at all."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.openai.script import routes
from loaders.base import Feature
from modules.errors import EngineError, NotFound
from modules.extension_api import ExtensionContext, ModelAccess
from modules.generation.pipeline import Generation
from tests.conftest import LiveServer, running_server
from tests.engine_stand_in import Lender, StandIn
from tests.extensions.asking import client_of, user

WIDTH = 24


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, openai.OpenAI]]:
    with running_server(tmp_path_factory.mktemp("vectors")) as live:
        live.load_echo(embeddings=WIDTH)
        with client_of(live) as client:
            yield live, client


def length(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


def test_the_client_gets_the_same_vectors_as_numbers_and_packed(
    embedding: tuple[LiveServer, openai.OpenAI],
) -> None:
    _, client = embedding
    texts = ["a red cat", "a red dog", "tax law"]
    usual = client.embeddings.create(model="echo", input=texts)  # this client asks for base64 by itself
    numbers = client.embeddings.create(model="echo", input=texts, encoding_format="float")
    assert [one.index for one in usual.data] == [0, 1, 2]
    assert usual.model == "echo"
    assert usual.usage.prompt_tokens == usual.usage.total_tokens > 3
    for packed, plain in zip(usual.data, numbers.data, strict=True):
        assert len(packed.embedding) == WIDTH
        assert packed.embedding == pytest.approx(plain.embedding, abs=1e-6)
        assert length(plain.embedding) == pytest.approx(1)
    cat, dog, law = (one.embedding for one in numbers.data)
    assert sum(map(float.__mul__, cat, dog)) > sum(map(float.__mul__, cat, law))


def test_packed_vectors_are_32_bit_floats_with_the_low_byte_first(
    embedding: tuple[LiveServer, openai.OpenAI],
) -> None:
    import base64
    import struct

    live, _ = embedding
    body = {"model": "echo", "input": "x", "encoding_format": "base64"}
    made = live.call("POST", "/v1/embeddings", body)["data"][0]["embedding"]
    plain = live.call("POST", "/v1/embeddings", {**body, "encoding_format": "float"})["data"][0]["embedding"]
    assert struct.unpack(f"<{WIDTH}f", base64.b64decode(made)) == pytest.approx(plain, abs=1e-6)


def test_fewer_dimensions_are_cut_and_made_whole_again_and_said(
    embedding: tuple[LiveServer, openai.OpenAI],
) -> None:
    _, client = embedding
    whole = client.embeddings.create(model="echo", input="a b c", encoding_format="float").data[0].embedding
    made = client.embeddings.create(model="echo", input="a b c", dimensions=5, encoding_format="float")
    part = made.data[0].embedding
    assert len(part) == 5
    assert length(part) == pytest.approx(1)
    assert part == pytest.approx([value / length(whole[:5]) for value in whole[:5]])
    notices = made.model_extra["enginehouse"]["notices"]  # type: ignore[index]
    assert [notice["code"] for notice in notices] == ["dimensions_cut"]
    same = client.embeddings.create(model="echo", input="a b c", dimensions=WIDTH, encoding_format="float")
    assert same.data[0].embedding == whole
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="echo", input="a", dimensions=WIDTH + 1)
    assert caught.value.param == "dimensions"
    assert str(WIDTH) in str(caught.value)


def test_token_ids_give_the_vector_of_their_text(embedding: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = embedding
    ids = [len(part) << 24 | int.from_bytes(part, "big") for part in (b"hel", b"lo")]
    text = client.embeddings.create(model="echo", input="hello").data[0].embedding
    assert client.embeddings.create(model="echo", input=ids).data[0].embedding == text
    assert [one.embedding for one in client.embeddings.create(model="echo", input=[ids, ids]).data] == [text, text]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input.0"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": ["a", 5]}, "input.1"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": [-1]}, "input.0"),
        ({"input": ["a"] * 2049}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "five"}, "dimensions"),
        ({"model": 5}, "model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_fields_are_named(embedding: tuple[LiveServer, openai.OpenAI], more: dict[str, Any], param: str) -> None:
    answer = embedding[0].http.post("/v1/embeddings", json={"model": "echo", "input": "x", **more})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_a_model_without_embeddings_is_an_honest_422_that_says_what_to_do(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.embeddings.create(model="echo", input="x")
    assert caught.value.param == "model"
    assert "with the setting embeddings" in str(caught.value)


def test_an_unknown_model_is_a_404_and_a_field_nobody_knows_is_said(
    embedding: tuple[LiveServer, openai.OpenAI],
) -> None:
    live, client = embedding
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="text-embedding-3-small", input="x")
    assert caught.value.code == "model_not_found"
    made = live.call("POST", "/v1/embeddings", {"input": "x", "dimension": 5})
    assert made["model"] == "echo"
    notice = made["enginehouse"]["notices"][0]
    assert (notice["code"], notice["param"]) == ("unknown_field", "dimension")
    assert "dimensions" in notice["message"]


def test_a_model_that_embeds_is_listed_with_what_it_offers(embedding: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = embedding
    card = client.models.retrieve("echo").model_extra["enginehouse"]  # type: ignore[index]
    assert card["loaded"]
    assert card["loader"] == "echo"
    assert "embeddings" in card["running"]["features"]
    assert "images" not in card["running"]["features"]
    assert card["running"]["context"] == 8192
    assert isinstance(card["capabilities"], list)
    assert client.chat.completions.create(model="echo", messages=user("still")).choices[0].message.content == "still"


def test_a_named_model_that_is_not_loaded_is_loaded_for_its_vectors(tmp_path: Path) -> None:
    with running_server(tmp_path) as live:
        live.load_echo(embeddings=3)
        live.call("POST", "/api/models/unload", {})
        with client_of(live) as client:
            assert len(client.embeddings.create(model="echo", input="x").data[0].embedding) == 3
        assert live.call("GET", "/api/state")["model"]["model"] == "echo"


# ── with a stand-in ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class File:
    """A model of the catalogue."""

    name: str
    kind: str = "model"
    runnable: bool = True
    builtin: bool = False
    capabilities: tuple[str, ...] = ()


@dataclass
class Status:
    model: str = "stand-in"


class Catalog:
    def scan(self) -> tuple[Any, ...]:
        return (File("bge", "embedding"), File("judge", "reranker"), File("broken", "reranker", runnable=False),
                File("writer"))  # fmt: skip

    def get(self, name: str) -> Any:
        for file in self.scan():
            if file.name == name:
                return file
        raise NotFound("There is no such model.", code="model_not_found")


class Pool(Lender):
    """Lends the stand-in under any name."""

    @property
    def status(self) -> Any:
        return Status()


def post(path: str, body: Any, engine: StandIn | None = None, error: Exception | None = None) -> httpx.Response:
    pool = Pool(engine or StandIn(scores=(0.1, 0.9, -3.0)))
    pool.error = error  # type: ignore[assignment]
    models = ModelAccess(pool, Catalog())  # type: ignore[arg-type]
    context = ExtensionContext("openai", Path(), {"model_aliases": {"rerank-v3": "judge"}}, Generation(pool), models,
                               None, {}, logging.getLogger("test"))  # type: ignore[arg-type]  # fmt: skip
    app = FastAPI()
    app.include_router(routes(context))

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            return await http.post(path, content=orjson.dumps(body), headers={"content-type": "application/json"})

    answer = asyncio.run(send())
    assert pool.out == 0, "the model was not given back"
    post.names = pool.names  # type: ignore[attr-defined]
    return answer


DOCUMENTS = ["one", {"text": "two"}, "three"]


def test_documents_come_back_best_first() -> None:
    answer = post("/v1/rerank", {"model": "judge", "query": "q", "documents": DOCUMENTS}).json()
    assert answer["results"] == [
        {"index": 1, "relevance_score": 0.9},
        {"index": 0, "relevance_score": 0.1},
        {"index": 2, "relevance_score": -3.0},
    ]
    assert answer["usage"] == {"prompt_tokens": 11, "total_tokens": 11}
    assert (answer["object"], answer["model"]) == ("list", "stand-in")
    body = {"model": "rerank-v3", "query": "q", "documents": DOCUMENTS, "top_n": 1, "return_documents": True}
    best = post("/v1/rerank", body).json()["results"]
    assert best == [{"index": 1, "relevance_score": 0.9, "document": {"text": "two"}}]
    assert post.names == ["judge"]  # type: ignore[attr-defined]
    assert len(post("/v1/rerank", {**body, "top_n": 99}).json()["results"]) == 3


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": 5}, "query"),
        ({"documents": None}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": "one"}, "documents"),
        ({"documents": ["a", ""]}, "documents.1"),
        ({"documents": [{"title": "a"}]}, "documents.0"),
        ({"documents": ["a"] * 1025}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"return_documents": "perhaps"}, "return_documents"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_fields_of_a_rerank_are_named(more: dict[str, Any], param: str) -> None:
    answer = post("/v1/rerank", {"query": "q", "documents": DOCUMENTS, **more})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("path", "body", "feature", "name"),
    [
        ("/v1/embeddings", {"input": "x"}, Feature.EMBEDDINGS, "bge"),
        ("/v1/rerank", {"query": "q", "documents": ["x"]}, Feature.RERANK, "judge"),
    ],
)
def test_who_cannot_names_the_models_that_can(path: str, body: dict[str, Any], feature: Feature, name: str) -> None:
    answer = post(path, body, StandIn(features=frozenset(Feature) - {feature}))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported", "model")
    assert error["message"].endswith(f"Name a model that was made for it: {name}.")


def test_a_failure_of_the_engine_is_told_and_the_model_given_back() -> None:
    class Broken(StandIn):
        async def call(self, task: Any, request: Any) -> Any:
            raise EngineError("It broke.")

    assert post("/v1/embeddings", {"input": "x"}, Broken()).status_code == 500
    short = post("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, StandIn(scores=(1.0,)))
    assert short.status_code == 500
    assert "1 scores for 2 documents" in short.json()["error"]["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["model", "input", "dimensions", "encoding_format", "query", "documents", "top_n", "user",
                          "return_documents", "x"])  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(FIELDS, JSON, max_size=6), st.sampled_from(["/v1/embeddings", "/v1/rerank"]))
def test_anything_is_answered_or_refused(body: dict[str, Any], path: str) -> None:
    documents = body.get("documents")
    count = len(documents) if isinstance(documents, list) else 0
    answer = post(path, body, StandIn(scores=(0.5,) * count))
    if answer.status_code == 200:
        assert answer.json()["object"] == "list"
    else:
        assert answer.status_code in (400, 404), answer.text
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

"""llama.cpp with models that make vectors: embeddings and ranking."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from loaders.base import Feature, features_of
from modules.errors import ContextOverflow, Unsupported
from tests import gguf_parts
from tests.engine.asking import embed, rerank
from tests.engine.making import MODEL, ask, collect, failed_of
from tests.loaders.llama_making import loaded_with, stand_in

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.cell(Feature.EMBEDDINGS.value, loader="llama.cpp")
async def test_a_model_for_embeddings_makes_vectors_of_length_one_and_writes_nothing(tmp_path: Path) -> None:
    async with loaded_with(tmp_path, gguf_parts.vector_model(tmp_path / "tiny.gguf")) as (engine, _):
        assert engine.info.details["used_for"] == "embeddings"
        assert features_of(engine.spec, engine.info) == {Feature.EMBEDDINGS}
        texts = ["the sea", "a ship", "the sea"]
        found = await embed(engine, texts)
        assert len(found.vectors) == 3
        assert all(math.fsum(value**2 for value in vector) == pytest.approx(1.0) for vector in found.vectors)
        assert found.vectors[0] == pytest.approx(found.vectors[2])
        assert found.vectors[0] != pytest.approx(found.vectors[1])
        assert found.tokens > 6
        assert (await embed(engine, [])).vectors == ()
        with pytest.raises(ContextOverflow):
            await embed(engine, ["zebra " * 60])
        assert "does not write" in failed_of(await collect(engine, ask("the sea"))).error["message"]
        with pytest.raises(Unsupported):
            await rerank(engine, "the", ["sea"])


@pytest.mark.cell(Feature.RERANK.value, loader="llama.cpp")
async def test_a_model_that_ranks_scores_every_document_in_its_order(tmp_path: Path) -> None:
    async with loaded_with(tmp_path, gguf_parts.vector_model(tmp_path / "tiny.gguf", ranks=True)) as (engine, _):
        assert engine.info.details["used_for"] == "rerank"
        documents = ["the ship", "a cat", "sea sea sea"]
        found = await rerank(engine, "the sea", documents)
        turned = await rerank(engine, "the sea", documents[::-1])
        assert found.scores == pytest.approx(turned.scores[::-1])
        assert len(set(found.scores)) == 3
        assert found.tokens > 9
        assert (await rerank(engine, "the sea", [])).scores == ()
        with pytest.raises(Unsupported):
            await embed(engine, ["the sea"])


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_a_text_model_makes_embeddings_when_asked_with_the_pooling_asked_for(tmp_path: Path) -> None:
    vectors = []
    for pooling in ("mean", "last"):
        own = stand_in(tmp_path) if pooling == "last" else ""
        settings = {"mode": "embeddings", "pooling": pooling, "context": 256, "parallel": 1}
        async with loaded_with(tmp_path, own=own, **settings) as (engine, _):
            vectors.append((await embed(engine, ["The sea is blue."])).vectors[0])
    assert len(vectors[0]) == gguf_parts.HIDDEN
    assert vectors[0] != pytest.approx(vectors[1], abs=1e-3)

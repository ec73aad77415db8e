"""A real llama.cpp server elsewhere, with adapters, for embeddings, for ranking: what it has, a request can use."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loaders.base import Feature, NamedFile, features_of
from loaders.openai_endpoint import SPEC
from modules.drivers.connect import ConnectedEngine
from modules.drivers.llama_server import LlamaServerEngine
from modules.errors import BadParameter, Unsupported
from modules.generation.checks import checked_against
from modules.types import Message, ToolCall
from tests import gguf_parts
from tests.drivers.openai_making import DONE, USAGE, driver, event, faking, piece, saying
from tests.engine.asking import embed, rerank
from tests.engine.making import MODEL, ask, collect, done_of, failed_of, running, text_of
from tests.loaders.llama_making import loaded_with
from tests.loaders.test_llama_features import STORY, far, first_logprobs
from tests.loaders.test_openai_endpoint import endpoint_file

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
needs_model = [
    pytest.mark.real_model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]
LLAMA, OPENAI = "openai-endpoint (llama-server)", "openai-endpoint (openai)"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def far_away(
    folder: Path, path: Path = MODEL, flavour: str = "auto", settings: Mapping[str, Any] | None = None, **there: Any
) -> AsyncIterator[tuple[ConnectedEngine, LlamaServerEngine]]:
    """The endpoint loader's engine, and the engine of the worker that hosts the server behind it."""
    (folder / "there").mkdir(exist_ok=True)
    async with loaded_with(folder / "there", path, **there) as (own, _):
        assert own.info.endpoint is not None
        values = {"url": own.info.endpoint.url, "key": own.info.endpoint.key, "flavour": flavour}
        file = endpoint_file(folder, **values)
        async with running(folder, SPEC, str(file), **(settings or {})) as (engine, _):
            yield engine, own


class TestAdapters:
    pytestmark = needs_model

    @pytest.fixture(scope="class")
    async def engine(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaServerEngine]:
        folder = tmp_path_factory.mktemp("adapters")
        files = {"lora": (
            NamedFile("a", str(gguf_parts.adapter(folder / "tales.gguf")), 1.0),
            NamedFile("b", str(gguf_parts.adapter(folder / "letters.gguf", seed=9)), 0.0),
        )}  # fmt: skip
        async with far_away(folder, files=files, context=512, parallel=2) as (engine, _):
            assert isinstance(engine, LlamaServerEngine)
            yield engine

    async def test_they_are_found_with_their_names_and_strengths(self, engine: LlamaServerEngine) -> None:
        assert engine.info.adapters == {"tales": 1.0, "letters": 0.0}
        offered = features_of(engine.spec, engine.info)
        assert Feature.LORA in offered
        assert Feature.PROMPT_CACHE not in offered
        assert "tales (1), letters (0)" in engine.info.details["notes"]

    @pytest.mark.cell(Feature.LORA.value, loader=LLAMA)
    async def test_a_reply_after_a_switch_is_the_one_of_an_engine_that_had_nothing_computed(
        self, engine: LlamaServerEngine
    ) -> None:
        mixes: tuple[Mapping[str, float] | None, ...] = (None, {}, {"tales": 0.5, "letters": 0.5})
        anew = [await first_logprobs(engine, STORY, mix, {"seed": 1}) for mix in mixes]
        assert all(far(one, other) > 0.5 for one, other in itertools.combinations(anew, 2)), "each says something else"
        asis = await first_logprobs(engine, STORY, {"tales": 1.0}, {"seed": 1})
        assert far(asis, anew[0]) < 0.1, "without a word of them, they are as the server had them at the load"
        for number, mix in enumerate(mixes):
            chunks = await collect(engine, ask(STORY, lora={"letters": 1.0}, params={"max_tokens": 2}))
            assert done_of(chunks).stats.cached_tokens == 0
            found = await first_logprobs(engine, STORY, mix, {})
            away = [far(found, other) for other in anew]  # other batches round by up to 0.3
            assert away[number] == min(away), away

    async def test_an_adapter_the_server_does_not_have_is_refused(self, engine: LlamaServerEngine) -> None:
        with pytest.raises(BadParameter, match="nobody") as caught:
            checked_against(ask("x", lora={"nobody": 1.0}), engine)
        assert "tales" in caught.value.hint
        assert failed_of(await collect(engine, ask("x", lora={"nobody": 1.0}))).error["param"] == "lora"

    async def test_vectors_are_refused_with_what_the_server_lacks(self, engine: LlamaServerEngine) -> None:
        with pytest.raises(Unsupported) as caught:
            await embed(engine, ["x"])
        assert "--embeddings" in caught.value.hint
        with pytest.raises(Unsupported) as caught:
            await rerank(engine, "x", ["y"])
        assert "--reranking" in caught.value.hint


@pytest.mark.cell(Feature.EMBEDDINGS.value, loader=LLAMA)
async def test_a_server_for_embeddings_makes_the_vectors_it_makes_at_home(tmp_path: Path) -> None:
    async with far_away(tmp_path, gguf_parts.vector_model(tmp_path / "tiny.gguf")) as (engine, own):
        assert features_of(engine.spec, engine.info) == {Feature.EMBEDDINGS}
        assert "It writes no text" in engine.info.details["notes"]
        texts = ["the sea", "a ship", "the sea"]
        found, wanted = await embed(engine, texts), await embed(own, texts)
        assert found.tokens == wanted.tokens
        for one, other in zip(found.vectors, wanted.vectors, strict=True):
            assert one == pytest.approx(other, abs=1e-5)
        assert found.vectors[0] != pytest.approx(found.vectors[1])
        error = failed_of(await collect(engine, ask("the sea"))).error
        assert "does not write text" in error["message"]
        with pytest.raises(Unsupported):
            await rerank(engine, "the", ["sea"])


@pytest.mark.cell(Feature.EMBEDDINGS.value, loader=OPENAI)
async def test_the_same_server_by_openais_routes_makes_the_same_vectors(tmp_path: Path) -> None:
    async with far_away(tmp_path, gguf_parts.vector_model(tmp_path / "tiny.gguf"), "openai") as (engine, own):
        assert Feature.EMBEDDINGS in features_of(engine.spec, engine.info)
        texts = ["a cat", "the sea"]
        found, wanted = await embed(engine, texts), await embed(own, texts)
        for one, other in zip(found.vectors, wanted.vectors, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.cell(Feature.RERANK.value, loader=LLAMA)
async def test_a_server_that_ranks_gives_the_scores_it_gives_at_home(tmp_path: Path) -> None:
    async with far_away(tmp_path, gguf_parts.vector_model(tmp_path / "tiny.gguf", ranks=True)) as (engine, own):
        assert features_of(engine.spec, engine.info) == {Feature.RERANK}
        documents = ["the ship", "a cat", "sea sea sea"]
        found, wanted = await rerank(engine, "the sea", documents), await rerank(own, "the sea", documents)
        assert found.scores == pytest.approx(wanted.scores, abs=1e-5)
        assert len(set(found.scores)) == 3
        with pytest.raises(Unsupported):
            await embed(engine, ["the sea"])


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_a_model_for_text_on_a_server_for_embeddings_does_both_and_its_adapters_may_stay(tmp_path: Path) -> None:
    files = {"lora": (NamedFile("a", str(gguf_parts.adapter(tmp_path / "tales.gguf")), 1.0),)}
    settings = {"adapters": False}
    there = {"mode": "embeddings", "pooling": "mean", "context": 256, "parallel": 1}
    async with far_away(tmp_path, settings=settings, files=files, **there) as (engine, own):
        offered = features_of(engine.spec, engine.info)
        assert {Feature.EMBEDDINGS, Feature.LOGPROBS, Feature.PROMPT_CACHE} <= offered
        assert Feature.LORA not in offered
        assert engine.info.adapters == {}
        (found,), (wanted,) = (await embed(engine, [STORY])).vectors, (await embed(own, [STORY])).vectors
        assert found == pytest.approx(wanted, abs=1e-4)
        params = {"max_tokens": 4, "temperature": 0.0}
        text = text_of(await collect(engine, ask(STORY, params=params)))
        assert text
        again = await collect(engine, ask(STORY + text, params=params))
        assert done_of(again).stats.cached_tokens > 20, "without adapters by request the server keeps what it computed"
        with pytest.raises(Unsupported):
            checked_against(ask("x", lora={"tales": 1.0}), engine)


@pytest.mark.cell(Feature.TOOLS.value, loader=OPENAI)
async def test_a_server_that_calls_a_tool_ends_so() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = ({"type": "function", "function": {"name": "f"}},)
    request = ask(None, messages=(Message("user", "hi"),), tools=tools, tool_choice="required")
    async with faking(saying(piece("", tool_calls=[call]), piece("", "tool_calls"), event(USAGE), DONE)) as fake:
        engine = driver(fake.url)
        chunks = await collect(engine, request)
        await engine.close()
    assert [chunk for chunk in chunks if isinstance(chunk, ToolCall)] == [ToolCall(0, "c1", "f", "{}")]
    assert done_of(chunks).reason == "tool_calls"
    assert (fake.asked[0].body["tools"], fake.asked[0].body["tool_choice"]) == (list(tools), "required")

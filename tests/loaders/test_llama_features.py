"""llama.cpp with what goes with a model: adapters, images, draft models, saved prompts."""

from __future__ import annotations

import base64
import io
import itertools
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PIL import Image

from loaders import openai_endpoint
from loaders.base import Feature, NamedFile, features_of
from loaders.text.media_mark import MEDIA_MARK
from modules.drivers.connect import ConnectedEngine
from modules.drivers.llama_server import LlamaServerEngine
from modules.engine.process import WorkerProcess
from modules.errors import BadParameter, NotFound, StorageError, Unsupported
from modules.types import Stats, Text
from tests import gguf_parts
from tests.engine.asking import embed, rerank
from tests.engine.making import MODEL, ask, ask_with_images, collect, done_of, failed_of, running, text_of
from tests.loaders.llama_making import loaded_with, raw
from tests.pictures import looking

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
needs_model = [
    pytest.mark.real_model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]
Loaded = tuple[LlamaServerEngine, WorkerProcess]
ELSEWHERE = "openai-endpoint (llama-server)"
GREEDY = {"max_tokens": 3, "temperature": 0.0}
STORY = "The lighthouse on the coast was built in 1820, and its keeper had a dog. " * 4


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def picture(colour: str) -> str:
    """A PNG file, base64."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


async def said(engine: ConnectedEngine, prompt: str, **more: object) -> tuple[str, Stats]:
    """The greedy continuation and its figures."""
    params = {**GREEDY, **({"seed": 1} if more.pop("anew", False) else {})}
    chunks = await collect(engine, ask_with_images(prompt, params=params, **more))
    return text_of(chunks), done_of(chunks).stats


async def first_logprobs(
    engine: LlamaServerEngine, prompt: str, mix: Mapping[str, float] | None, params: Mapping[str, int]
) -> dict[int, float]:
    """Token id → logprob of the likeliest first tokens: what is compared where a near tie may turn a text."""
    chunks = await collect(engine, ask(prompt, lora=mix, logprobs=8, params={**GREEDY, "max_tokens": 1, **params}))
    (entry,) = [entry for chunk in chunks if isinstance(chunk, Text) for entry in chunk.logprobs][:1]
    return {top.token_id or 0: top.logprob for top in entry.top}


def far(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The largest difference of the likeliest tokens; one that the other does not name is 10 away."""
    best = sorted(one, key=lambda token: -one[token])[:3]
    return max(abs(one[token] - other.get(token, one[token] - 10)) for token in best)


@asynccontextmanager
async def elsewhere(folder: Path, engine: LlamaServerEngine) -> AsyncIterator[ConnectedEngine]:
    """The same server, by the loader for servers of others."""
    endpoint = engine.info.endpoint
    assert endpoint is not None
    path = folder / "remote.endpoint.yaml"
    path.write_text(json.dumps({"url": endpoint.url, "key": endpoint.key}))
    async with running(folder, openai_endpoint.SPEC, str(path)) as (there, _):
        yield there


class TestAdapters:
    pytestmark = needs_model

    @pytest.fixture(scope="class")
    async def engine(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaServerEngine]:
        folder = tmp_path_factory.mktemp("adapters")
        files = {"lora": (
            NamedFile("tales", str(gguf_parts.adapter(folder / "a.gguf")), 1.0),
            NamedFile("letters", str(gguf_parts.adapter(folder / "b.gguf", seed=9)), 0.0),
        )}  # fmt: skip
        async with loaded_with(folder, files=files, context=512, parallel=2) as (engine, _):
            yield engine

    async def test_the_adapters_are_named_with_their_strengths(self, engine: LlamaServerEngine) -> None:
        assert engine.info.adapters == {"tales": 1.0, "letters": 0.0}
        assert Feature.LORA in features_of(engine.spec, engine.info)
        loaded = await raw(engine, "/lora-adapters")
        assert [(Path(one["path"]).name, one["scale"]) for one in loaded] == [("a.gguf", 1.0), ("b.gguf", 0.0)]

    @pytest.mark.cell(Feature.LORA.value, loader="llama.cpp")
    async def test_a_reply_after_a_switch_is_the_one_of_an_engine_that_had_nothing_computed(
        self, engine: LlamaServerEngine
    ) -> None:
        mixes = (None, {}, {"letters": 1.0}, {"tales": 0.5, "letters": 0.5})
        anew = [await first_logprobs(engine, STORY, mix, {"seed": 1}) for mix in mixes]
        assert all(far(one, other) > 0.15 for one, other in itertools.combinations(anew, 2)), "each says something else"
        other = "Quite different words about a cat and a dog and a mouse, said once. " * 2
        tale = "Once there was a miller who had three sons, a mill, a donkey and a cat. "
        for mix in mixes:
            _, stats = await said(engine, tale, lora=mix)
            assert stats.cached_tokens == 0, "computed with another mix"
            await said(engine, other, lora={"letters": 1.0})
            await said(engine, other + "And more.", lora={})
        for mix, wanted in zip(mixes, anew, strict=True):
            found = await first_logprobs(engine, STORY, mix, {})
            assert far(found, wanted) < 0.5, "the rounding of other batches is less"
        _, first = await said(engine, other, lora={})
        _, again = await said(engine, other + "Yes.", lora={})
        assert again.cached_tokens >= first.prompt_tokens - 1, "what the same mix computed is used again"

    async def test_an_adapter_that_is_not_loaded_is_refused(self, engine: LlamaServerEngine) -> None:
        error = failed_of(await collect(engine, ask("x", lora={"nobody": 1.0}))).error
        assert (error["status"], error["param"]) == (400, "lora")
        assert "tales" in error["message"]

    async def test_prompts_are_not_saved_where_adapters_change_them(self, engine: LlamaServerEngine) -> None:
        with pytest.raises(Unsupported):
            await engine.save_slot("name", STORY)


class TestImages:
    pytestmark = needs_model

    @pytest.fixture(scope="class")
    async def engine(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaServerEngine]:
        folder = tmp_path_factory.mktemp("images")
        files = {"mmproj": (NamedFile("part", str(gguf_parts.image_part(folder / "mm.gguf"))),)}
        async with loaded_with(folder, files=files, context=512, parallel=1, context_shift=True) as (engine, _):
            yield engine

    @pytest.mark.cell(Feature.VISION.value, loader="llama.cpp")
    async def test_an_image_is_read_where_its_mark_stands(self, engine: LlamaServerEngine) -> None:
        assert Feature.VISION in features_of(engine.spec, engine.info)
        _, plain = await said(engine, "Look:  What is it?")
        _, one = await said(engine, f"Look: {MEDIA_MARK} What is it?", images=(picture("red"),))
        _, two = await said(engine, f"Look: {MEDIA_MARK}{MEDIA_MARK} What?", images=(picture("red"), picture("blue")))
        assert plain.prompt_tokens < one.prompt_tokens < two.prompt_tokens

    @pytest.mark.cell(Feature.VISION.value, loader=ELSEWHERE)
    async def test_images_reach_it_also_as_a_server_elsewhere(self, engine: LlamaServerEngine, tmp_path: Path) -> None:
        async with elsewhere(tmp_path, engine) as there:
            assert Feature.VISION in features_of(there.spec, there.info)
            sizes = []
            for one in (engine, there):
                sizes.append((await said(one, f"Look: {MEDIA_MARK} What?", images=(picture("red"),)))[1].prompt_tokens)
            assert sizes[0] == sizes[1] > (await said(there, "Look:  What?"))[1].prompt_tokens

    async def test_another_image_in_the_same_place_is_not_taken_for_the_first(self, engine: LlamaServerEngine) -> None:
        prompt = f"Look: {MEDIA_MARK} What is it?"
        _, first = await said(engine, prompt, images=(picture("green"),))
        _, same = await said(engine, prompt, images=(picture("green"),))
        _, other = await said(engine, prompt, images=(picture("yellow"),))
        assert same.cached_tokens > other.cached_tokens
        assert same.prompt_tokens == first.prompt_tokens

    async def test_a_chat_with_images_has_their_marks(self, engine: LlamaServerEngine) -> None:
        prompt = await engine.render((looking("What is it?", picture("red"), picture("blue")),), {})
        assert len(prompt.image_places) == 2
        assert prompt.image_places[1] <= prompt.text.index("What is it?")
        pictures, places = (picture("red"), picture("blue")), prompt.image_places
        done_of(await collect(engine, ask(prompt.text, images=pictures, image_places=places)))

    async def test_what_is_wrong_with_images_is_the_callers_fault(self, engine: LlamaServerEngine) -> None:
        wrong = (
            ask_with_images("No place.", images=(picture("red"),)),
            ask_with_images(f"{MEDIA_MARK} {MEDIA_MARK}", images=(picture("red"),)),
            ask_with_images((1, 2), images=(picture("red"),)),
            ask_with_images(f"{MEDIA_MARK} x", images=(base64.b64encode(b"no image at all").decode(),)),
        )
        for request in wrong:
            assert failed_of(await collect(engine, request)).error["status"] == 400

    async def test_the_mark_as_text_of_a_prompt_without_images_is_text(self, engine: LlamaServerEngine) -> None:
        assert (await said(engine, f"Say {MEDIA_MARK} twice."))[1].prompt_tokens > 5

    async def test_what_is_off_because_of_images_is_told(self, engine: LlamaServerEngine) -> None:
        assert "not shifted" in engine.info.details["notes"]


class TestWriting:
    """One load with a draft model, where everything else of a text model is tried too."""

    pytestmark = needs_model

    @pytest.fixture(scope="class")
    async def loaded(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
        folder = tmp_path_factory.mktemp("writing")
        files = {"draft_model": (NamedFile("draft", str(MODEL)),)}
        gone = folder / "slots" / "of-another"
        gone.mkdir(parents=True)
        (gone / "old.slot").write_bytes(b"x")
        (gone / "model.json").write_text(json.dumps({"model": str(folder / "gone.gguf"), "size": 1, "mtime_ns": 1}))
        async with loaded_with(
            folder, files=files, context=256, parallel=2, draft_max=5, gpu_layers=3, context_shift=True
        ) as pair:
            assert not gone.exists()
            yield pair

    @pytest.fixture
    async def engine(self, loaded: Loaded) -> LlamaServerEngine:
        return loaded[0]

    @pytest.mark.cell(Feature.SPECULATION.value, loader="llama.cpp")
    async def test_a_draft_model_guesses_and_the_text_is_the_same(self, engine: LlamaServerEngine) -> None:
        body = {"prompt": STORY, "n_predict": 14, "temperature": 0, "cache_prompt": False}
        guessed = await raw(engine, "/completion", body)
        assert guessed["timings"]["draft_n_accepted"] > 5
        assert guessed["timings"]["draft_n"] >= guessed["timings"]["draft_n_accepted"]
        alone = await raw(engine, "/completion", {**body, "speculative.n_max": 0})
        assert guessed["content"] == alone["content"]
        assert Feature.SPECULATION in features_of(engine.spec, engine.info)

    @pytest.mark.cell(Feature.SLOT_STATES.value, loader="llama.cpp")
    async def test_a_restored_prompt_is_not_computed_again(self, engine: LlamaServerEngine) -> None:
        tale = "Once there was a miller who had three sons, a mill, a donkey and a cat. " * 4
        saved = await engine.save_slot("a-tale", tale)
        assert saved > 60
        for slot in range(engine.info.slots):
            await raw(engine, f"/slots/{slot}?action=erase", {})
        for number in range(engine.info.slots):  # nor is it in a slot that was not erased
            await said(engine, f"{number} other words altogether, of which there are some. " * 5)
        assert await engine.restore_slot("a-tale", tale) == saved
        _, stats = await said(
            engine, tale + "And then? The youngest went out into the world with nothing but the cat. " * 2
        )
        assert stats.cached_tokens >= saved - 1
        assert stats.prompt_tokens - stats.cached_tokens < 50
        with pytest.raises(NotFound, match="another-tale"):
            await engine.restore_slot("another-tale", tale)

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits another process")
    async def test_a_prompt_the_disk_does_not_take_is_said_and_nothing_of_it_is_left(self, loaded: Loaded) -> None:
        import resource

        engine, process = loaded
        assert process.pid is not None
        tale = "Once there was a tailor who had three sons, one goat, a table, a donkey and a sack. " * 4
        folder = Path(process.request.scratch) / "slots"
        before = sorted(folder.rglob("*"))
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        try:
            with pytest.raises(StorageError, match="of the disk are free"):
                await engine.save_slot("too-large", tale)
        finally:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        assert [path for path in folder.rglob("*") if path.suffix == ".part" or "too-large" in path.name] == []
        assert set(before) <= set(folder.rglob("*")), "what was saved before is still there"
        assert await engine.save_slot("too-large", tale) > 60, "and it works when there is room"

    async def test_saved_prompts_of_a_model_that_is_gone_are_deleted_at_a_load_and_that_is_said(
        self, engine: LlamaServerEngine
    ) -> None:
        assert "1 of models that are gone" in engine.info.details["notes"]

    @pytest.mark.parametrize("name", ["", "../a", "a/b", ".hidden", "x" * 65, "a.slot", "a\0"])
    async def test_a_name_from_outside_cannot_be_a_path(self, engine: LlamaServerEngine, name: str) -> None:
        with pytest.raises(BadParameter):
            await engine.save_slot(name, STORY)
        with pytest.raises(BadParameter):
            await engine.restore_slot(name, STORY)

    async def test_an_image_is_refused_before_the_engine(self, engine: LlamaServerEngine) -> None:
        failed = failed_of(await collect(engine, ask_with_images(f"{MEDIA_MARK} x", images=(picture("red"),))))
        assert failed.error["param"] == "images"
        assert Feature.VISION not in features_of(engine.spec, engine.info)

    async def test_vectors_are_refused_with_the_way_to_them(self, engine: LlamaServerEngine) -> None:
        with pytest.raises(Unsupported, match="no embeddings") as caught:
            await embed(engine, ["x"])
        assert "mode embeddings" in caught.value.hint
        with pytest.raises(Unsupported):
            await rerank(engine, "x", ["y"])

    async def test_a_reply_goes_on_past_a_full_context_where_it_is_shifted(self, engine: LlamaServerEngine) -> None:
        tokens = tuple((await engine.tokenize(STORY * 8))[:240])
        params = {"max_tokens": 24, "ban_eos_token": True, "temperature": 0.0}
        done = done_of(await collect(engine, ask(tokens, params=params)))
        assert done.stats.completion_tokens == 24
        assert done.stats.prompt_tokens + 24 > engine.info.context

    async def test_a_setting_that_does_nothing_here_is_told(self, engine: LlamaServerEngine) -> None:
        if engine.info.details["graphics_cards"] == "none":
            assert "gpu_layers has no effect" in engine.info.details["notes"]


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_what_was_written_before_is_guessed_without_a_draft_model(tmp_path: Path) -> None:
    settings = {"speculation": "ngram-simple", "ngram_match": 3, "ngram_draft": 8, "context": 256, "parallel": 1}
    async with loaded_with(tmp_path, **settings) as (engine, _):
        counted = "one two three four five " * 4 + "one two"
        body = {"prompt": counted, "n_predict": 16, "temperature": 0}
        timings = (await raw(engine, "/completion", body))["timings"]
        assert timings["draft_n_accepted"] > 5
        assert "notes" not in engine.info.details

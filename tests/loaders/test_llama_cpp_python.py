"""llama-cpp-python with the starter model, by the suite every loader passes, and what is its own."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loaders import installed
from loaders.base import Feature, LoadRequest, NamedFile, features_of
from loaders.llama_cpp_python import SPEC
from loaders.text.media_mark import MEDIA_MARK
from modules.drivers.connect import connect
from modules.engine.process import WorkerProcess
from modules.engine.watchdog import Limits
from modules.engine.worker_log import WorkerLog
from modules.errors import ContextOverflow, LoadFailed
from modules.types import GenerationRequest, Progress, Stats, Text
from tests.engine.asking import embed
from tests.engine.making import (
    MODEL,
    ask,
    ask_with_images,
    collect,
    done_of,
    failed_of,
    running,
    text_of,
    until,
    worker,
)
from tests.loaders.conformance import Conformance, Loaded, spent

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
ABSENT = "llama-cpp-python is not installed: python3 start.py install llama-cpp-python"
needs_engine = [
    pytest.mark.real_model,
    pytest.mark.skipif(not installed(SPEC), reason=ABSENT),
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def loaded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
    folder = tmp_path_factory.mktemp("python")
    more = {"context": 768, "threads": 1, "batch_size": 64, "ubatch_size": 64, "embeddings": True}
    async with running(folder, SPEC, str(MODEL), Limits(), **more) as pair:
        yield pair


class TestLlamaCppPython(Conformance):
    pytestmark = needs_engine

    def unicode_request(self) -> tuple[GenerationRequest, str]:
        text = "🎉🎊 naïve 漢字 👩‍👩‍👧"
        return ask("Emoji:", grammar=f'root ::= "{text}"', logprobs=1, params={"max_tokens": 80}), text

    async def test_it_computes_one_reply_at_a_time_and_the_others_follow(self, loaded: Loaded) -> None:
        engine, process = loaded
        assert engine.info.slots == 1
        assert Feature.PARALLEL not in features_of(SPEC, engine.info)
        replies = [collect(engine, ask(f"{n} and", params={"max_tokens": 6, "seed": n})) for n in range(5)]
        waited = []
        for chunks in await asyncio.gather(*replies):
            done_of(chunks)
            waited += [chunk.total for chunk in chunks if isinstance(chunk, Progress) and chunk.stage == "queued"]
        assert waited == [1, 2, 3, 4], "each is told that it waits, and how many are before it"
        await until(lambda: process.running == 0)

    async def test_a_cancel_stops_a_prompt_in_the_middle(self, loaded: Loaded) -> None:
        engine, process = loaded
        tokens = tuple((await engine.tokenize("one two three four " * 400))[:700])
        await collect(engine, ask("short", params={"max_tokens": 1}))
        stream = engine.generate(ask(tokens, params={"max_tokens": 1, "seed": 1}))
        steps = []
        async for chunk in stream:
            assert isinstance(chunk, Progress), "it should have been cancelled before the first token"
            steps.append(chunk.done)
            if len(steps) == 2:
                break
        await stream.aclose()
        await until(lambda: process.running == 0)
        before = spent(process)
        await asyncio.sleep(0.5)
        assert spent(process) - before < 0.3
        done = done_of(await collect(engine, ask(tokens, params={"max_tokens": 1})))
        assert done.stats.cached_tokens < len(tokens), "only what was really computed counts as kept"

    async def test_the_prompts_progress_is_told_in_steps_of_a_batch(self, loaded: Loaded) -> None:
        chunks = await collect(loaded[0], ask("unheard of " * 100, params={"max_tokens": 1, "seed": 2}))
        steps = [chunk for chunk in chunks if isinstance(chunk, Progress)]
        assert [step.done for step in steps] == [*range(0, steps[0].total, 64), steps[0].total]

    async def test_the_logprobs_are_of_the_raw_distribution_whatever_the_samplers_do(self, loaded: Loaded) -> None:
        engine, _ = loaded
        replies = []
        for params in ({"temperature": 0.0}, {"temperature": 0.0, "top_k": 1, "logit_bias": {"5": 20.0}}):
            chunks = await collect(engine, ask("The sky is", logprobs=5, params={"max_tokens": 1, "seed": 1} | params))
            replies.append(next(chunk.logprobs[0] for chunk in chunks if isinstance(chunk, Text)))
        assert replies[0] == replies[1]
        assert replies[0].chosen == replies[0].top[0]

    @pytest.mark.cell("embeddings")
    async def test_embeddings_are_of_length_one_and_near_for_what_means_the_same(self, loaded: Loaded) -> None:
        engine, _ = loaded
        assert Feature.EMBEDDINGS in features_of(SPEC, engine.info)
        made = await embed(engine, ["The cat sits on the mat.", "A cat is sitting on a mat.", "Stock prices fell 3 %."])
        first, same, other = made.vectors
        assert sum(x * x for x in first) == pytest.approx(1, abs=1e-4)
        assert made.tokens > 15

        def near(one: tuple[float, ...], two: tuple[float, ...]) -> float:
            return sum(a * b for a, b in zip(one, two, strict=True))

        assert near(first, same) > near(first, other)

    async def test_embedding_ends_within_a_text_nobody_waits_for_and_does_not_stop_a_reply(
        self, loaded: Loaded
    ) -> None:
        engine, process = loaded
        started = asyncio.create_task(embed(engine, ["word " * 700] * 400))
        await until(lambda: len(process._handlers) == 1)
        assert done_of(await collect(engine, ask("Once", params={"max_tokens": 8}))).reason in ("stop", "length")
        assert not started.done()
        started.cancel()
        await until(lambda: not process._handlers, 15)  # all of it would take minutes
        assert len((await embed(engine, ["the sea"])).vectors) == 1

    async def test_an_image_is_refused_without_the_part_for_it(self, loaded: Loaded) -> None:
        error = failed_of(await collect(loaded[0], ask("What?", images=("aGVsbG8=",), image_places=(0,)))).error
        assert error["status"] == 422

    async def test_mirostat_says_what_it_puts_out_of_action(self, loaded: Loaded) -> None:
        params = {"mirostat_mode": "2", "top_k": 5, "max_tokens": 2}
        chunks = await collect(loaded[0], ask("Tell me", params=params))
        assert any(getattr(chunk, "code", "") == "sampler_ignored" and "top_k" in chunk.message for chunk in chunks)  # type: ignore[union-attr]

    async def test_a_grammar_that_can_go_nowhere_ends_the_reply(self, loaded: Loaded) -> None:
        request = ask("Is it so?", grammar='root ::= "yes"', params={"max_tokens": 20, "ban_eos_token": True})
        chunks = await collect(loaded[0], request)
        assert (text_of(chunks), done_of(chunks).reason) == ("yes", "stop")

    async def test_a_chat_does_not_begin_twice(self, loaded: Loaded) -> None:
        engine, _ = loaded
        tokens = await engine.tokenize("<|im_start|>user\nHi<|im_end|>\n")
        assert tokens[0] != tokens[1]
        assert len(tokens) < 10, "names of special tokens are read as such"


@pytest.mark.skipif(not installed(SPEC), reason=ABSENT)
async def test_a_model_that_only_makes_embeddings_needs_no_setting_and_writes_no_reply(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf is not installed: python3 start.py install transformers")
    from tests.gguf_parts import vector_model

    path = vector_model(tmp_path / "vectors.gguf")
    async with running(tmp_path, SPEC, str(path), Limits()) as (engine, process):
        assert features_of(SPEC, engine.info) == {Feature.EMBEDDINGS}
        made = await embed(engine, ["the sea", "the ship", "the sea"])
        assert made.vectors[0] == made.vectors[2] != made.vectors[1]
        assert sum(x * x for x in made.vectors[0]) == pytest.approx(1, abs=1e-4)
        assert engine.info.context == 64
        with pytest.raises(ContextOverflow, match="64"):
            await embed(engine, ["the sea " * 60])
        assert failed_of(await collect(engine, ask("the sea"))).error["status"] == 422
        assert process.alive


@asynccontextmanager
async def with_files(folder: Path, files: dict[str, tuple[NamedFile, ...]], **settings: Any) -> AsyncIterator[Loaded]:
    """The starter model with files that go with it."""
    complete = SPEC.check_settings({"context": 512, "threads": 1, **settings})
    request = LoadRequest("model", str(MODEL), SPEC.name, complete, str(folder), files)
    process = WorkerProcess(request, SPEC.load, WorkerLog(folder / "engine.log"), Limits(), lambda: None)
    try:
        yield connect(process, await process.start(), SPEC), process
    finally:
        await process.stop()


@pytest.mark.cell("lora adapters", loader=SPEC.name)
@pytest.mark.real_model
@pytest.mark.skipif(not installed(SPEC), reason=ABSENT)
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_adapters_are_switched_for_each_reply_and_what_was_read_under_others_is_not_used(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf is not installed: python3 start.py install transformers")
    from tests.gguf_parts import adapter

    files = {"lora": (NamedFile("a", str(adapter(tmp_path / "a.gguf", 1))),
                      NamedFile("b", str(adapter(tmp_path / "b.gguf", 2)), 0.0))}  # fmt: skip
    async with with_files(tmp_path, files) as (engine, _):
        assert engine.info.adapters == {"a": 1.0, "b": 0.0}
        assert Feature.LORA in features_of(SPEC, engine.info)
        prompt, params = "The capital of France is a city that", {"max_tokens": 8, "temperature": 0.0}

        async def said(lora: dict[str, float] | None, **more: Any) -> tuple[str, int]:
            chunks = await collect(engine, ask(prompt, lora=lora, params={**params, **more}))
            return text_of(chunks), done_of(chunks).stats.cached_tokens

        plain, _ = await said({})
        loaded, cached = await said(None)
        assert (loaded != plain, cached) == (True, 0)
        other, cached = await said({"b": 1.0})
        assert (other not in (plain, loaded), cached) == (True, 0)
        assert await said({"a": 1.0, "b": 0.0}) == (loaded, 0)
        assert (await said(None))[1] > 0, "the same adapters: what was read is used again"
        assert (await said({}))[0] == plain
        assert failed_of(await collect(engine, ask("x", lora={"c": 1.0}))).error["status"] == 400


@pytest.mark.cell("images", loader=SPEC.name)
@pytest.mark.real_model
@pytest.mark.skipif(not installed(SPEC), reason=ABSENT)
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_images_are_read_in_their_place_and_not_again_in_the_next_turn(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf is not installed: python3 start.py install transformers")
    from tests.gguf_parts import image_part

    files = {"mmproj": (NamedFile("part", str(image_part(tmp_path / "mmproj.gguf"))),)}
    async with with_files(tmp_path, files, batch_size=32, ubatch_size=32) as (engine, process):
        assert Feature.VISION in features_of(SPEC, engine.info)
        red, blue = picture("red"), picture("blue")
        params = {"max_tokens": 8, "temperature": 0.0, "ban_eos_token": True}

        async def said(prompt: str, *images: str) -> tuple[tuple[str, float], Stats]:
            """The text and how likely its first token was: a part of random numbers does not change every text."""
            chunks = await collect(engine, ask_with_images(prompt, images=images, logprobs=0, params=params))
            begun = next(chunk for chunk in chunks if isinstance(chunk, Text))
            return (text_of(chunks), round(begun.logprobs[0].chosen.logprob, 3)), done_of(chunks).stats

        prompt = f"Here is a picture, {MEDIA_MARK} and I see"
        without = len(await engine.tokenize(prompt.replace(MEDIA_MARK, "")))
        first, stats = await said(prompt, red)
        assert stats.prompt_tokens > without, "the image takes tokens of its own"
        again, stats = await said(prompt, red)
        assert again == first
        assert stats.cached_tokens >= without + 2
        other, stats = await said(prompt, blue)
        assert other != first
        assert stats.cached_tokens < without
        longer, stats = await said(f"{prompt}{other[0]} Then {MEDIA_MARK}.", blue, red)
        assert stats.cached_tokens > without, "the first image is not read again"
        same, _ = await said(f"{prompt}{other[0]} Then {MEDIA_MARK}.", blue, red)
        assert same == longer
        for wrong in ("no mark", f"at the end: {MEDIA_MARK}", f"{MEDIA_MARK} and {MEDIA_MARK}.",
                      MEDIA_MARK + " word" * 600):  # fmt: skip
            assert failed_of(await collect(engine, ask_with_images(wrong, images=(red,)))).error["status"] == 400
        assert (await said("Hello"))[0][0]
        assert process.alive


def picture(colour: str) -> str:
    """A small PNG, as requests have it."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.real_model
@pytest.mark.skipif(not installed(SPEC), reason=ABSENT)
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_settings_reach_the_engine(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "cache_type_k": "q8_0", "cache_type_v": "q4_0", "flash_attention": "on", "mmap": False, "rope_freq_base": 1e6,
        "tensor_split": "1", "split_mode": "none", "threads_batch": 1,
    }  # fmt: skip
    async with with_files(tmp_path, {}, **settings) as (engine, _):
        done_of(await collect(engine, ask("Hello", params={"max_tokens": 3})))
        assert Feature.EMBEDDINGS not in features_of(SPEC, engine.info)
    log = (tmp_path / "engine.log").read_text()
    for pattern in (r"K \(q8_0\)", r"V \(q4_0\)", r"freq_base += 1000000", r"flash_attn += enabled"):
        assert re.search(pattern, log), pattern


@pytest.mark.real_model
@pytest.mark.skipif(not installed(SPEC), reason=ABSENT)
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_loading_is_told_as_it_goes_on(tmp_path: Path) -> None:
    told: list[float] = []
    complete = SPEC.check_settings({"context": 256})
    request = LoadRequest("model", str(MODEL), SPEC.name, complete, str(tmp_path))

    def changed() -> None:
        told.append(process.fraction)

    process = WorkerProcess(request, SPEC.load, WorkerLog(tmp_path / "engine.log"), Limits(), changed)
    try:
        await process.start()
    finally:
        await process.stop()
    assert len({one for one in told if 0.03 < one < 0.95}) > 3, told


@pytest.mark.skipif(not installed(SPEC), reason=ABSENT)
async def test_a_file_the_engine_refuses_is_told_with_the_engines_words(tmp_path: Path) -> None:
    from tests.gguf_maker import LLAMA, make

    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(make({**LLAMA, "general.architecture": "flying-carpet"}).data))
    with pytest.raises(LoadFailed, match="flying-carpet"):
        await worker(tmp_path, SPEC, str(path), Limits()).start()


@pytest.mark.skipif(installed(SPEC), reason="llama-cpp-python is installed here")
async def test_without_the_package_the_way_to_install_it_is_told(tmp_path: Path) -> None:
    from tests.gguf_maker import make

    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(make().data))
    with pytest.raises(LoadFailed, match="not installed") as caught:
        await worker(tmp_path, SPEC, str(path), Limits()).start()
    assert "python3 start.py install llama-cpp-python" in caught.value.hint
    assert importlib.util.find_spec("llama_cpp") is None


def test_it_offers_the_same_samplers_as_llama_cpp() -> None:
    from loaders import llama_cpp

    assert SPEC.samplers.keys() == llama_cpp.SPEC.samplers.keys()

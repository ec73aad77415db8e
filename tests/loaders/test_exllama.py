"""The ExLlama loaders in a real worker, over stand-ins with the libraries' own signatures (tests/loaders/standins)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loaders import exllamav2, exllamav3
from loaders.base import Feature, LoaderSpec, LoadRequest, NamedFile, features_of
from modules.drivers.connect import ConnectedEngine, connect
from modules.engine.process import WorkerProcess
from modules.engine.worker_log import WorkerLog
from modules.types import Message, Notice, Progress, Text
from tests.engine.making import CALM, ask, ask_with_images, collect, done_of, failed_of, text_of, until
from tests.loaders.byte_folder import byte_folder
from tests.pictures import looking

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
STANDINS = Path(__file__).parent / "standins"
BOTH = [exllamav3.SPEC, exllamav2.SPEC]
Pair = tuple[ConnectedEngine, WorkerProcess]
Loading = Callable[..., AbstractAsyncContextManager[Pair]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[dict[str, Any]]]:
    """What the stand-in was asked for, by the kind of call; sets the stand-ins up for the worker."""
    file = tmp_path / "calls.jsonl"
    monkeypatch.setenv("PYTHONPATH", str(STANDINS))
    monkeypatch.setenv("STANDIN_LOG", str(file))

    def calls(what: str) -> list[dict[str, Any]]:
        lines = file.read_text().splitlines() if file.exists() else []
        return [call for call in map(json.loads, lines) if call["what"] == what]

    return calls


@pytest.fixture
def load(tmp_path: Path, log: object) -> Loading:
    """Loads the folder of bytes in a worker."""

    @asynccontextmanager
    async def loading(
        spec: LoaderSpec, name: str = "model", files: dict[str, tuple[NamedFile, ...]] | None = None, **settings: Any
    ) -> AsyncIterator[Pair]:
        folder = tmp_path / name
        if not folder.exists():
            byte_folder(folder)
        request = LoadRequest(name, str(folder), spec.name, spec.check_settings(settings), str(tmp_path), files or {})
        process = WorkerProcess(request, spec.load, WorkerLog(tmp_path / "engine.log"), CALM, lambda: None)
        try:
            yield connect(process, await process.start(), spec), process
        finally:
            await process.stop()

    return loading


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_a_reply_streams_in_whole_characters_with_its_figures(spec: LoaderSpec, load: Loading) -> None:
    async with load(spec) as (engine, _):
        assert engine.info.context == 1024
        text = "naïve 漢字 🎉"
        chunks = await collect(engine, ask(text, params={"seed": 7}))
        assert text_of(chunks) == text
        assert all("\ufffd" not in chunk.text for chunk in chunks if isinstance(chunk, Text))
        done = done_of(chunks)
        size = len(text.encode())
        assert (done.reason, done.stats.seed) == ("stop", 7)
        assert (done.stats.prompt_tokens, done.stats.completion_tokens) == (size + 1, size)
        assert [c.done for c in chunks if isinstance(c, Progress) and c.stage == "prompt"][-1] == size + 1
        short = await collect(engine, ask("abcdef", params={"max_tokens": 3}))
        assert (text_of(short), done_of(short).reason) == ("abc", "length")
        assert done_of(short).stats.completion_tokens == 3


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_replies_run_at_the_same_time_and_a_stop_ends_only_one(
    spec: LoaderSpec, load: Loading, log: Callable[[str], list[dict[str, Any]]]
) -> None:
    async with load(spec, context=4096) as (engine, process):
        assert engine.info.slots == 4
        long = engine.generate(ask("x" * 900))
        async for chunk in long:
            if isinstance(chunk, Text):
                break
        other = await collect(engine, ask("Hello"))
        assert text_of(other) == "Hello", "it did not wait for the long one"
        assert process.running == 1
        await long.aclose()
        await until(lambda: process.running == 0)
        await until(lambda: len(log("cancel")) == 1)
        assert log("cancel")[0]["written"] < 900
        replies = await asyncio.gather(*(collect(engine, ask(f"reply {n}")) for n in range(9)))
        assert [text_of(chunks) for chunks in replies] == [f"reply {n}" for n in range(9)]


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_one_job_that_fails_takes_no_other_reply_with_it_for_good(spec: LoaderSpec, load: Loading) -> None:
    async with load(spec) as (engine, process):
        refused = failed_of(await collect(engine, ask("too large #")))
        assert "cannot be enqueued" in refused.error["message"]
        broken = failed_of(await collect(engine, ask("bad !")))
        assert "illegal memory access" in broken.error["message"]
        assert text_of(await collect(engine, ask("fine"))) == "fine"
        assert process.alive


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_what_cannot_be_answered_is_refused_before_it_is_computed(
    spec: LoaderSpec, load: Loading, log: Callable[[str], list[dict[str, Any]]]
) -> None:
    async with load(spec) as (engine, _):
        error = failed_of(await collect(engine, ask("word " * 300))).error
        assert (error["code"], error["status"]) == ("context_length_exceeded", 400)
        assert "1501" in error["message"]
        assert "1024" in error["message"]
        assert failed_of(await collect(engine, ask("x", grammar="root ::= ("))).error["status"] == 400
        assert failed_of(await collect(engine, ask("x", lora={"other": 1.0}))).error["status"] == 422
        assert not log("job")


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_grammars_and_schemas_are_kept(spec: LoaderSpec, load: Loading) -> None:
    async with load(spec) as (engine, _):
        chunks = await collect(engine, ask("Is it so?", grammar='root ::= "yes" | "no"'))
        assert (text_of(chunks) in ("yes", "no"), done_of(chunks).reason) == (True, "stop")
        schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 7, "maximum": 9}},
                  "required": ["age"], "additionalProperties": False}  # fmt: skip
        chunks = await collect(engine, ask('{"age": 8}', json_schema=schema, params={"max_tokens": 40}))
        assert 7 <= json.loads(text_of(chunks))["age"] <= 9


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_logprobs_have_exact_bytes_and_as_many_rivals_as_asked_for(spec: LoaderSpec, load: Loading) -> None:
    async with load(spec) as (engine, _):
        for top in (0, 3):
            chunks = await collect(engine, ask("aé", logprobs=top))
            entries = [entry for chunk in chunks if isinstance(chunk, Text) for entry in chunk.logprobs]
            assert [bytes(entry.chosen.bytes) for entry in entries] == [b"a", b"\xc3", b"\xa9"]
            assert [entry.chosen.token_id for entry in entries] == list("aé".encode())
            assert all(len(entry.top) == top for entry in entries)
            assert all(-1 < entry.chosen.logprob <= 0 for entry in entries if spec is exllamav3.SPEC)
            assert all(-8 < entry.chosen.logprob <= 0 for entry in entries)
            ranked = [[one.logprob for one in entry.top] for entry in entries]
            assert ranked == [sorted(one, reverse=True) for one in ranked]


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_the_beginning_of_a_prompt_is_written_once(
    spec: LoaderSpec, load: Loading, log: Callable[[str], list[dict[str, Any]]]
) -> None:
    async with load(spec) as (engine, _):
        chat = (Message("user", "Hi"), Message("assistant", "Well"))
        prompt = await engine.render(chat, {}, True)
        assert prompt.text == "<s>[user] Hi\n[assistant] Well"
        for text in (prompt.text, "Hi"):
            await collect(engine, ask(text))
            assert log("job")[-1]["ids"][:2] == [257, ord(text.removeprefix("<s>")[0])]
        assert await engine.tokenize("Hi") == [257, 72, 105]
        assert await engine.tokenize("Hi", special=False) == [72, 105]
        assert await engine.detokenize([72, 105, 195, 169]) == "Hié"


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_images_go_to_the_model_where_their_marks_stand(
    spec: LoaderSpec, load: Loading, log: Callable[[str], list[dict[str, Any]]]
) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (8, 6), "red").save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    async with load(spec, "vision-model") as (engine, _):
        assert Feature.VISION in features_of(spec, engine.info)
        prompt = await engine.render((looking("What is it?", image),), {})
        assert len(prompt.image_places) == 1
        done_of(await collect(engine, ask(prompt.text, images=(image,), image_places=prompt.image_places)))
        assert log("see") == [{"what": "see", "size": [8, 6], "mode": "RGB"}]
        assert log("job")[-1]["ids"].count(1_000_000) > 1
        assert log("job")[-1]["embeddings"] == 1
        assert failed_of(await collect(engine, ask_with_images("no mark", images=(image,)))).error["status"] == 400
    async with load(spec) as (engine, _):
        assert Feature.VISION not in features_of(spec, engine.info)


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_adapters_are_loaded_with_their_scale(
    spec: LoaderSpec, load: Loading, log: Callable[[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapters" / "poet"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    files = {"lora": (NamedFile("poet", str(adapter / "adapter_model.safetensors"), 0.5),)}
    async with load(spec, files=files, lora="poet=0.5") as (engine, _):
        assert engine.info.adapters == {"poet": 0.5}
        assert log("lora") == [{"what": "lora", "directory": str(adapter), "scale": 0.5}]
        done_of(await collect(engine, ask("x", lora={"poet": 0.5})))
        assert failed_of(await collect(engine, ask("x", lora={}))).error["status"] == 422


async def test_settings_of_v3_reach_the_library(load: Loading, log: Callable[[str], list[dict[str, Any]]]) -> None:
    draft = {"draft_model": (NamedFile("small", "/small"),)}
    settings: dict[str, Any] = {
        "context": 600, "parallel": 2, "cache_type_k": "q6", "cache_type_v": "q4", "chunk_size": 512,
        "gpu_split": "20, 24", "tensor_parallel": True, "tp_backend": "nccl", "cpu_cache_gib": 1.5,
        "draft_model": "small", "draft_tokens": 3,
    }  # fmt: skip
    async with load(exllamav3.SPEC, files=draft, **settings) as (engine, _):
        assert (engine.info.context, engine.info.slots) == (600, 2)
        cache = {"tokens": 768, "kind": "CacheLayer_quant", "batch": 2, "history": 3, "k_bits": 6, "v_bits": 4}
        assert [{**call, "what": ""} for call in log("cache")] == [{"what": "", **cache}] * 2
        small, large = log("load")
        assert (small["use"], small["tp"], large["use"], large["tp"]) == ([20, 24], False, [20, 24], True)
        assert (large["backend"], large["chunk"], large["batch"], large["draft"]) == ("nccl", 512, 2, True)
        made = log("generator")[0]
        assert (made["ahead"], made["draft"], made["ngram"], made["cpu_cache"]) == (3, True, 0, 3 * 2**29)


async def test_settings_of_v2_reach_the_library(load: Loading, log: Callable[[str], list[dict[str, Any]]]) -> None:
    spec = exllamav2.SPEC
    async with load(spec, cache_type="q6", gpu_reserve="1,0.5", ngram=True, draft_tokens=5) as (engine, _):
        assert text_of(await collect(engine, ask("abcdef", params={"max_tokens": 4}))) == "abcd"
        assert log("load_autosplit")[0]["reserve"] == [2**30, 2**29]
        assert log("load_autosplit")[0]["kind"] == "ExLlamaV2Cache_Q6"
        assert log("load_autosplit")[0]["tokens"] == 1280, "room for what is guessed beyond the end"
        assert (log("generator")[0]["ngram"], log("generator")[0]["paged"]) == (True, True)
    async with load(spec, gpu_split="20,24") as (_, _):
        assert log("load")[0]["split"] == [20, 24]
    async with load(spec, tensor_parallel=True, cache_type="q4") as (_, _):
        assert (log("load_tp")[0]["kind"], log("load_tp")[0]["split"]) == ("ExLlamaV2Cache_Q4", None)


async def test_v2_without_flash_attn_answers_one_after_the_other_and_says_why(
    load: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FLASH", "0")
    async with load(exllamav2.SPEC) as (engine, _):
        assert engine.info.slots == 1
        assert Feature.PARALLEL not in features_of(exllamav2.SPEC, engine.info)
        assert "flash-attn" in engine.info.details["parallel_why"]
        replies = await asyncio.gather(*(collect(engine, ask(f"reply {n}")) for n in range(3)))
        assert [text_of(chunks) for chunks in replies] == [f"reply {n}" for n in range(3)]


async def test_samplers_of_v3_come_in_the_order_asked_for(
    load: Loading, log: Callable[[str], list[dict[str, Any]]]
) -> None:
    async with load(exllamav3.SPEC) as (engine, _):
        params: dict[str, Any] = {
            "temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "xtc_probability": 0.5,
            "repetition_penalty": 1.1, "repetition_penalty_range": -1, "presence_penalty": 0.5, "dry_multiplier": 0.8,
            "dry_sequence_breakers": ["\n"], "logit_bias": {"5": -100, "6": 2}, "ban_eos_token": True,
            "sampler_priority": ["temperature", "top_p", "top_k", "repetition_penalty"],
        }  # fmt: skip
        chunks = await collect(engine, ask("x", params={**params, "max_tokens": 2}))
        assert log("job")[-1]["steps"] == [
            ["SS_RepP", 1.1, 10**8, 0], ["SS_PresFreqP", 0.5, 0.0, 10**8, 0], ["SS_DRY", 0.8, 1.75, 2, 0, [10]],
            ["SS_LogitBias", {"5": "-inf", "6": "2.0"}], ["SS_BanTokens", [256]], ["SS_Temperature", 0.7],
            ["SS_TopP", 0.9], ["SS_TopK", 40], ["SS_MinP", 0.05], ["SS_XTC", 0.5, 0.1], ["SS_Sample"],
        ]  # fmt: skip
        assert log("job")[-1]["stops"] == []
        assert [chunk.param for chunk in chunks if isinstance(chunk, Notice)] == ["sampler_priority"]
        plain = await collect(engine, ask("x"))
        assert log("job")[-1]["steps"] == [["SS_Temperature", 1.0], ["SS_Sample"]]
        assert not any(isinstance(chunk, Notice) for chunk in plain)
        await collect(engine, ask("x", params={"temperature": 0.0, "repetition_penalty_range": 0, "dry_multiplier": 1}))
        assert log("job")[-1]["steps"] == [["SS_Argmax"]]
        await collect(engine, ask("x", params={"adaptive_target": 0.6, "adaptive_decay": 0.8}))
        assert log("job")[-1]["steps"][-1] == ["SS_AdaptiveP", 0.6, 0.8]


async def test_v2_is_told_every_value_because_its_own_defaults_are_not_neutral(
    load: Loading, log: Callable[[str], list[dict[str, Any]]]
) -> None:
    async with load(exllamav2.SPEC) as (engine, _):
        await collect(engine, ask("x"))
        neutral = log("job")[-1]["settings"]
        wanted = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "token_repetition_penalty": 1.0, "typical": 0, "tfs": 0,
                  "min_p": 0, "mirostat": False, "xtc_probability": 0, "token_bias": None, "max_temp": 0}  # fmt: skip
        assert {name: neutral[name] for name in wanted} == wanted
        params: dict[str, Any] = {
            "temperature": 0.0, "typical_p": 0.9, "tfs": 0.8, "logit_bias": {"5": -100, "6": 2}, "ban_eos_token": True,
            "mirostat_mode": "1", "sampler_priority": ["temperature", "min_p", "top_k"], "max_tokens": 2,
        }  # fmt: skip
        chunks = await collect(engine, ask("x", params=params))
        sent = log("job")[-1]["settings"]
        assert (sent["top_k"], sent["temperature"], sent["temperature_last"]) == (1, 1.0, False)
        assert (sent["typical"], sent["tfs"], sent["mirostat"]) == (0.9, 0.8, True)
        assert (sent["token_bias"], sent["width"]) == ({"5": "-inf", "6": "2.0", "256": "-inf"}, 288)
        said = [chunk.param for chunk in chunks if isinstance(chunk, Notice)]
        assert said == ["sampler_priority", "mirostat_mode"]
        dynamic = {"dynamic_temperature": True, "dynatemp_low": 1.5, "dynatemp_high": 0.5}
        await collect(engine, ask("x", params=dynamic))
        sent = log("job")[-1]["settings"]
        assert (sent["min_temp"], sent["max_temp"], sent["temperature"]) == (0.5, 1.5, 1.0)

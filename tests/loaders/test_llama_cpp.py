"""llama.cpp with the starter model, by the suite every loader passes, and what is its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from loaders import llama_cpp
from loaders.llama.context import choose_context
from loaders.llama.settings import DEFAULT_CONTEXT
from loaders.llama_cpp import SPEC
from modules.drivers.llama_request import completion_body
from modules.engine.watchdog import Limits
from modules.errors import EngineError
from modules.types import GenerationRequest, Message, Stats, Text
from tests.engine.making import MODEL, ask, collect, done_of, real, text_of, until, worker
from tests.gguf_maker import LLAMA, make
from tests.loaders.conformance import Conformance, Loaded, odd, spent

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
needs_model = [
    pytest.mark.real_model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def loaded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
    async with real(tmp_path_factory.mktemp("llama"), context=768) as pair:
        yield pair


class TestLlamaCpp(Conformance):
    pytestmark = needs_model

    def unicode_request(self) -> tuple[GenerationRequest, str]:
        text = "🎉🎊 naïve 漢字 👩‍👩‍👧"
        return ask("Emoji:", grammar=f'root ::= "{text}"', logprobs=1, params={"max_tokens": 80}), text

    async def test_the_endpoint_answers_nobody_without_its_key(self, loaded: Loaded) -> None:
        endpoint = loaded[0].info.endpoint
        assert endpoint is not None
        assert endpoint.url.startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(base_url=endpoint.url) as http:
            origin = {"Origin": "http://evil.example"}
            for path in ("/completion", "/tokenize", "/apply-template"):
                answer = await http.post(path, json={"prompt": "x", "content": "x"}, headers=origin)
                assert answer.status_code == 401
                assert answer.headers.get("access-control-allow-origin", "") == ""

    async def test_one_request_may_use_the_whole_context(self, loaded: Loaded) -> None:
        engine, _ = loaded
        assert engine.info.slots == 4
        tokens = (await engine.tokenize("word " * 768))[:600]
        done = done_of(await collect(engine, ask(tuple(tokens), params={"max_tokens": 20, "ban_eos_token": True})))
        assert done.stats.prompt_tokens == 600
        assert done.stats.completion_tokens == 20

    async def test_more_requests_than_slots_wait_their_turn(self, loaded: Loaded) -> None:
        engine, process = loaded
        replies = [collect(engine, ask(f"{n} and", params={"max_tokens": 8, "seed": n})) for n in range(10)]
        for chunks in await asyncio.gather(*replies):
            done_of(chunks)
        await until(lambda: process.running == 0)

    async def test_cancel_frees_the_slots_also_during_the_prompt(self, loaded: Loaded) -> None:
        engine, process = loaded
        tokens = tuple((await engine.tokenize("one two three four " * 400))[:500])
        before = spent(process)
        done_of(await collect(engine, ask(tokens, params={"max_tokens": 1})))
        whole = spent(process) - before
        before = spent(process)
        replies = [asyncio.create_task(collect(engine, ask(tokens[n + 1 :]))) for n in range(4)]
        await until(lambda: spent(process) > before + 0.05)
        for reply in replies:
            reply.cancel()
        await asyncio.gather(*replies, return_exceptions=True)
        done_of(await collect(engine, ask("Hello", params={"max_tokens": 1})))
        assert spent(process) - before < 2.5 * whole + 0.5, "the four prompts together cost four times as much"

    async def test_every_value_sent_is_the_value_the_engine_uses(self, loaded: Loaded) -> None:
        engine, _ = loaded
        endpoint = engine.info.endpoint
        assert endpoint is not None
        neutral: dict[str, object] = {"max_tokens": 2}
        strange = {name: odd(name) for name in SPEC.samplers if name != "logit_bias"}
        for values in (neutral, strange, strange | {"dynamic_temperature": False}):
            body = completion_body(ask("Hello", params=values))
            for name in ("response_fields", "prompt", "cache_prompt", "return_progress"):
                del body[name]
            async with httpx.AsyncClient(base_url=endpoint.url) as http:
                headers = {"Authorization": f"Bearer {endpoint.key}"}
                answer = await http.post("/completion", json={**body, "prompt": "Hello"}, headers=headers)
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
            used = events[-1]["generation_settings"]
            for name, sent in body.items():
                if name in ("ignore_eos", "logit_bias"):  # told in another form
                    continue
                got = used[name]
                assert got == (pytest.approx(sent, rel=1e-5) if isinstance(sent, float) else sent), name
            assert used["ignore_eos"] == body["ignore_eos"]

    async def test_penalties_reach_over_the_whole_context_and_dry_needs_no_breakers(self, loaded: Loaded) -> None:
        params = {"repetition_penalty_range": -1, "repetition_penalty": 1.2, "dry_multiplier": 1.0,
                  "dry_sequence_breakers": [], "max_tokens": 4, "temperature": 0.0}  # fmt: skip
        done_of(await collect(loaded[0], ask("one two one two", params=params)))

    async def test_the_prompts_progress_is_told(self, loaded: Loaded) -> None:
        engine, _ = loaded
        chunks = await collect(engine, ask("unheard of " * 150, params={"max_tokens": 1}))
        steps = [chunk for chunk in chunks if type(chunk).__name__ == "Progress"]
        assert steps[-1].done == steps[-1].total > 300  # type: ignore[union-attr]


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
@pytest.mark.parametrize("cache", [1024, 0], ids=["with a prompt cache", "without one"])
async def test_short_requests_with_the_same_system_prompt_do_not_cost_a_chat_what_was_read(
    tmp_path: Path, cache: int
) -> None:
    system = Message("system", "You answer in few words, politely, and never about the weather or the news. " * 6)
    chat = [system, Message("user", "Here is a story about a lighthouse keeper and his dog by the sea. " * 8)]
    async with real(tmp_path, context=1024, prompt_cache_mib=cache) as (engine, process):

        async def say(*messages: Message) -> tuple[str, Stats]:
            prompt = (await engine.render(messages, {})).text
            chunks = await collect(engine, ask(prompt, params={"max_tokens": 4, "temperature": 0.0}))
            return text_of(chunks), done_of(chunks).stats

        text, first = await say(*chat)
        for number in range(3):
            await say(system, Message("user", f"What is {number} and {number}?"))
        _, second = await say(*chat, Message("assistant", text), Message("user", "And then?"))
        assert second.cached_tokens >= first.prompt_tokens - 1
        assert second.prompt_tokens - second.cached_tokens < 40
        await until(lambda: process.running == 0)


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_a_crash_in_mid_reply_is_told_within_two_seconds(tmp_path: Path) -> None:
    took = []
    while not took or (took[-1] >= 2 and len(took) < 3):  # the quickest counts: other programs can only slow it down
        took.append(await seconds_until_told_of_a_crash(tmp_path))
    assert min(took) < 2, took


async def seconds_until_told_of_a_crash(tmp_path: Path) -> float:
    async with real(tmp_path, context=512) as (engine, process):
        stream = engine.generate(ask("Once upon a time", params={"ban_eos_token": True}))
        text, killed = "", 0.0
        async for chunk in stream:
            if isinstance(chunk, Text):
                text += chunk.text
                if len(text) > 20 and not killed:
                    killed = time.monotonic()
                    os.kill(process.pid or 0, signal.SIGKILL)
        assert text
        assert chunk.error["code"] == "engine_crashed"  # type: ignore[union-attr]
        assert "memory" in chunk.error["message"]  # type: ignore[union-attr]
        return time.monotonic() - killed


@pytest.mark.parametrize(
    ("make_file", "words"),
    [
        (lambda: bytes(make().data), ""),
        (lambda: bytes(make({**LLAMA, "general.architecture": "flying-carpet"}).data), "flying-carpet"),
        (lambda: MODEL.read_bytes()[: 3 << 20] if MODEL.exists() else b"GGUF", ""),
        (lambda: b"not a model at all", ""),
    ],
    ids=["weights missing", "unknown architecture", "cut short", "another file"],
)
async def test_a_file_that_cannot_be_loaded_is_refused_with_its_reason(
    tmp_path: Path, make_file: object, words: str
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(make_file())  # type: ignore[operator]
    process = worker(tmp_path, SPEC, str(path), Limits())
    with pytest.raises(EngineError) as caught:
        await process.start()
    assert process.pid is None
    assert words in caught.value.message
    assert "by itself" not in caught.value.message, "a reason, not an exit code"


def test_the_context_is_chosen_with_its_reason() -> None:
    assert choose_context(0, 4096).value == 4096
    assert choose_context(0, 131072).value == DEFAULT_CONTEXT
    assert "131,072" in choose_context(0, 131072).why
    assert choose_context(16384, 131072).value == 16384
    assert choose_context(4_000_000, 8192).value == 8192
    assert choose_context(10, 8192).value == 256
    assert "smallest" in choose_context(10, 8192).why
    assert choose_context(16384, 8192).value == 8192
    assert "8,192" in choose_context(16384, 8192).why
    assert choose_context(0, None).value == DEFAULT_CONTEXT


def test_a_processor_without_avx2_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(Path, "read_text", lambda self: "processor: 0\nflags\t\t: fpu sse4_2 avx f16c\n")
    assert llama_cpp.missing_instructions() == ("avx2", "fma")
    monkeypatch.setattr(llama_cpp.platform, "machine", lambda: "aarch64")
    assert llama_cpp.missing_instructions() == ()

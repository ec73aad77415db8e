"""What vLLM is started with; and, where there is one, a real vLLM on the processor."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loaders import vllm
from loaders.base import Feature, LoadRequest, NamedFile, features_of
from loaders.served.serve import BindAddress
from modules.errors import LoadFailed
from modules.types import GenerationRequest, Message, Text
from tests.engine.making import ask, collect, done_of, failed_of, running, text_of
from tests.loaders.conformance import Loaded

DOOR = BindAddress(4242, "the-key")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def request(folder: Path, files: dict[str, tuple[NamedFile, ...]] | None = None, **settings: Any) -> LoadRequest:
    return LoadRequest("m", str(folder), "vllm", vllm.SPEC.check_settings(settings), str(folder), files or {})


def after(arguments: tuple[str, ...], switch: str) -> str:
    return arguments[arguments.index(switch) + 1]


def adapter(folder: Path, name: str, rank: int) -> NamedFile:
    path = folder / name
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return NamedFile(name, str(path))


def test_settings_become_switches_and_defaults_leave_them_out(tmp_path: Path) -> None:
    plain = vllm.plan(request(tmp_path), DOOR).arguments
    assert plain[:2] == ("serve", str(tmp_path))
    assert (after(plain, "--host"), after(plain, "--port")) == ("127.0.0.1", "4242")
    for switch in ("--max-model-len", "--max-num-seqs", "--quantization", "--enforce-eager", "--enable-lora",
                   "--speculative-config", "--distributed-executor-backend", "--cpu-offload-gb"):  # fmt: skip
        assert switch not in plain
    full = vllm.plan(
        request(tmp_path, context=8192, parallel=32, gpu_memory=0.5, dtype="bfloat16", quantization="fp8",
                cache_type="fp8", cpu_offload=1.5, tensor_parallel=2, pipeline_parallel=3, executor="ray",
                enforce_eager=True, prefix_caching=False, batch_tokens=4096), DOOR)  # fmt: skip
    wanted = {"--max-model-len": "8192", "--max-num-seqs": "32", "--gpu-memory-utilization": "0.5",
              "--dtype": "bfloat16", "--quantization": "fp8", "--kv-cache-dtype": "fp8", "--cpu-offload-gb": "1.5",
              "--tensor-parallel-size": "2", "--pipeline-parallel-size": "3", "--max-num-batched-tokens": "4096",
              "--distributed-executor-backend": "ray"}  # fmt: skip
    assert {switch: after(full.arguments, switch) for switch in wanted} == wanted
    assert {"--enforce-eager", "--no-enable-prefix-caching"} <= set(full.arguments)
    assert (full.slots, full.details["cards"]) == (32, 6)


def test_the_key_is_in_the_environment_and_not_in_the_command(tmp_path: Path) -> None:
    start = vllm.plan(request(tmp_path), DOOR)
    assert start.environment == {"VLLM_API_KEY": "the-key"}
    assert "the-key" not in str(start.arguments)


def test_adapters_are_named_with_the_rank_that_holds_them_all(tmp_path: Path) -> None:
    named = (adapter(tmp_path, "red", 8), adapter(tmp_path, "blue", 48))
    start = vllm.plan(request(tmp_path, {"lora": named}), DOOR)
    assert start.adapters == ("red", "blue")
    assert after(start.arguments, "--max-lora-rank") == "64"
    assert after(start.arguments, "--lora-modules") == f"red={tmp_path / 'red'}"
    assert f"blue={tmp_path / 'blue'}" in start.arguments


@pytest.mark.parametrize("named", [NamedFile("gone", "/nowhere"), NamedFile("half", "", 0.5)])
def test_an_adapter_it_cannot_use_is_refused(tmp_path: Path, named: NamedFile) -> None:
    if named.scale != 1:
        named = NamedFile(named.name, adapter(tmp_path, "half", 8).path, named.scale)
    with pytest.raises(LoadFailed) as caught:
        vllm.plan(request(tmp_path, {"lora": (named,)}), DOOR)
    assert caught.value.hint


def test_speculation_is_told_in_its_own_words(tmp_path: Path) -> None:
    ngram = vllm.plan(request(tmp_path, speculation="ngram", draft_tokens=3), DOOR)
    assert json.loads(after(ngram.arguments, "--speculative-config"))["num_speculative_tokens"] == 3
    assert Feature.SPECULATION not in ngram.missing_features
    draft = vllm.plan(
        request(tmp_path, {"draft_model": (NamedFile("d", "/models/d"),)}, speculation="eagle3"), DOOR
    ).arguments
    assert json.loads(after(draft, "--speculative-config"))["model"] == "/models/d"
    with pytest.raises(LoadFailed, match="draft model"):
        vllm.plan(request(tmp_path, speculation="eagle"), DOOR)


def test_a_model_that_sees_keeps_its_images(tmp_path: Path) -> None:
    assert Feature.VISION in vllm.plan(request(tmp_path), DOOR).missing_features
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": {}}))
    assert Feature.VISION not in vllm.plan(request(tmp_path), DOOR).missing_features


def test_no_setting_takes_a_program_a_path_or_a_raw_argument() -> None:
    assert {param.kind for param in vllm.SPEC.params} <= {"int", "float", "bool", "choice", "files"}


# ── a real one ──────────────────────────────────────────────────────────────────────────────────────

REAL = os.environ.get("ENGINEHOUSE_VLLM", "")
MODEL = os.environ.get("ENGINEHOUSE_VLLM_MODEL", "")
HOW = (
    "set ENGINEHOUSE_VLLM to the environment vLLM is installed in and ENGINEHOUSE_VLLM_MODEL to the folder of a small "
    "chat model; for a machine without a GPU: docs/remote.md, vLLM on the processor"
)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not REAL, reason=HOW)
def test_the_real_program_knows_every_switch(tmp_path: Path) -> None:
    named = {"lora": (adapter(tmp_path, "red", 8),), "draft_model": (NamedFile("d", "/models/d"),)}
    start = vllm.plan(
        request(tmp_path, named, context=8192, parallel=32, gpu_memory=0.5, quantization="fp8", cache_type="fp8",
                cpu_offload=1.5, tensor_parallel=2, pipeline_parallel=3, executor="ray", enforce_eager=True,
                prefix_caching=False, batch_tokens=4096, speculation="draft model"), DOOR)  # fmt: skip
    code = (
        "import sys; from vllm.utils.argparse_utils import FlexibleArgumentParser as P; "
        "from vllm.entrypoints.cli.serve import ServeSubcommand; parser = P(); "
        "ServeSubcommand().subparser_init(parser.add_subparsers()); found = parser.parse_args(sys.argv[1:]); "
        "print(found.max_model_len, found.port, found.lora_modules[0].name)"
    )
    done = subprocess.run(
        [f"{REAL}/bin/python", "-c", code, *start.arguments], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-3:] == ["8192", "4242", "red"]


@pytest.mark.anyio
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (REAL and MODEL), reason=HOW)
class TestRealVllm:
    """What is promised of the driver, with the true server."""

    @pytest.fixture(scope="class")
    async def loaded(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
        patch = pytest.MonkeyPatch()
        patch.setenv("PATH", f"{REAL}/bin{os.pathsep}{os.environ['PATH']}")
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        try:
            async with running(
                tmp_path_factory.mktemp("vllm"), vllm.SPEC, MODEL, context=1024, dtype="float32", enforce_eager=True,
                parallel=8,
            ) as pair:  # fmt: skip
                yield pair
        finally:
            patch.undo()

    async def test_a_chat_a_raw_prompt_and_figures(self, loaded: Loaded) -> None:
        engine, _ = loaded
        params = {"max_tokens": 12, "temperature": 0.0}
        chunks = await collect(engine, GenerationRequest("t", messages=(Message("user", "Hi"),), params=params))
        assert done_of(chunks).stats.completion_tokens <= 12
        raw = await collect(engine, ask("The capital of France is", params=params))
        assert "Paris" in text_of(raw)
        assert len([chunk for chunk in raw if isinstance(chunk, Text)]) > 1
        assert done_of(raw).stats.prompt_tokens == len(await engine.tokenize("The capital of France is"))

    async def test_seeds_schemas_grammars_and_logprobs(self, loaded: Loaded) -> None:
        engine, _ = loaded
        seeded = ask("My name is", params={"max_tokens": 8, "seed": 4})
        assert text_of(await collect(engine, seeded)) == text_of(await collect(engine, seeded))
        schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"],
                  "additionalProperties": False}  # fmt: skip
        person = await collect(engine, ask("A person:", json_schema=schema, params={"max_tokens": 40, "seed": 1}))
        assert set(json.loads(text_of(person))) == {"age"}
        answer = await collect(engine, ask("Is it so?", grammar='root ::= "yes" | "no"', params={"max_tokens": 5}))
        assert text_of(answer) in ("yes", "no")
        marked = await collect(engine, ask("The sky is", logprobs=2, params={"max_tokens": 3}))
        entries = [entry for chunk in marked if isinstance(chunk, Text) for entry in chunk.logprobs]
        assert len(entries) == 3
        assert all(len(entry.top) == 2 for entry in entries)

    async def test_text_goes_to_tokens_and_back(self, loaded: Loaded) -> None:
        engine, _ = loaded
        for text in ("Hello world", "naïve café, 漢字 and 🎉🎊!"):
            assert await engine.detokenize(await engine.tokenize(text, special=False)) == text

    async def test_every_parameter_is_taken_and_a_reply_continued(self, loaded: Loaded) -> None:
        engine, _ = loaded
        from tests.loaders.conformance import odd

        for name in engine.spec.samplers:
            done_of(await collect(engine, ask("Tell me", params={"max_tokens": 2, name: odd(name)})))
        assert Feature.CONTINUE in features_of(engine.spec, engine.info)
        chat = (Message("user", "Count."), Message("assistant", "One, two,"))
        more = await collect(
            engine,
            GenerationRequest("t", messages=chat, continue_last=True, params={"max_tokens": 3, "temperature": 0.0}),
        )
        assert "three" in text_of(more)

    async def test_a_prompt_beyond_the_context_is_told_so_and_many_run_at_once(self, loaded: Loaded) -> None:
        engine, _ = loaded
        error = failed_of(await collect(engine, ask("word " * 2000))).error
        assert (error["code"], error["status"]) == ("context_length_exceeded", 400)
        several = (collect(engine, ask(f"Number {one} is", params={"max_tokens": 16})) for one in range(6))
        assert all(done_of(chunks) for chunks in await asyncio.gather(*several))

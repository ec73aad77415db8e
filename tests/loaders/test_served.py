"""Engines that are servers of their own, with a program in their place: started, watched, ended, and their faults."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from loaders import sglang, tensorrt_llm, vllm
from loaders.base import Feature, LoaderSpec, features_of
from loaders.served import load_errors
from loaders.served.child import ServerChild
from loaders.served.probe_http import ProbeHttp, Unanswered
from modules.drivers.connect import ConnectedEngine, connect
from modules.engine.child import Child
from modules.engine.process import WorkerProcess
from modules.engine.watchdog import Limits
from modules.errors import EngineError
from modules.types import Done, GenerationRequest, Message, Text
from tests.engine.making import CALM, ROOT, ask, collect, done_of, failed_of, running, text_of, until, worker

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="these engines do not run on Windows"),
]
STAND_IN = ROOT / "tests" / "drivers" / "served_stand_in.py"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts the stand-in on the PATH under an engine's name, with a plan; gives a model's folder."""

    def put(program: str = "vllm", **plan: Any) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / program
        path.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("STAND_IN", json.dumps(plan))
        model = tmp_path / "model"
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
        return model

    return put


@asynccontextmanager
async def loaded(
    folder: Path, model: Path, spec: LoaderSpec = vllm.SPEC, **settings: Any
) -> AsyncIterator[tuple[ConnectedEngine, WorkerProcess]]:
    async with running(folder, spec, str(model), **settings) as pair:
        yield pair


async def load_error(folder: Path, model: Path, limits: Limits = CALM, **settings: Any) -> EngineError:
    process = worker(folder, vllm.SPEC, str(model), limits, **settings)
    with pytest.raises(EngineError) as caught:
        await process.start()
    await until(lambda: process.pid is None)
    return caught.value


def chat(text: str, **more: Any) -> GenerationRequest:
    return GenerationRequest(id="test", messages=(Message("user", text),), **more)


async def test_a_server_is_started_and_answers_chats_and_raw_prompts(tmp_path: Path, install: Install) -> None:
    model = install(asked=str(tmp_path / "asked"))
    async with loaded(tmp_path, model) as (engine, process):
        info = engine.info
        assert (info.context, info.renders_templates, info.sends_to, info.slots) == (
            2048,
            False,
            "",
            vllm.DEFAULT_SLOTS,
        )
        for request in (chat("Hello"), ask("Hello")):
            chunks = await collect(engine, request)
            assert text_of(chunks) == "Once upon a time there was a naïve fox 🦊."
            stats = done_of(chunks).stats
            assert (stats.prompt_tokens, stats.completion_tokens, stats.cached_tokens) == (7, 10, 3)
        assert await engine.tokenize("né") == [110, 195, 169]
        assert await engine.detokenize([110, 195, 169]) == "né"
        assert process.running == 0
        bodies = [json.loads(line)["body"] for line in (tmp_path / "asked").read_text().splitlines()]
    assert bodies[0]["top_k"] == -1, "off is said too: the server's own default comes out of the model's files"
    assert bodies[0]["model"] == "model"
    assert "max_tokens" not in bodies[0]
    assert bodies[1]["max_tokens"] is None


async def test_the_port_is_on_loopback_and_closed_without_the_key(tmp_path: Path, install: Install) -> None:
    model = install(arguments=str(tmp_path / "argv"), **{"says key": True})
    async with loaded(tmp_path, model) as (engine, process):
        endpoint = engine.info.endpoint
        assert endpoint is not None
        assert endpoint.url.startswith("http://127.0.0.1:")
        started = json.loads((tmp_path / "argv").read_text())
        assert endpoint.key not in str(started["argv"]), "other users can read a command line"
        assert started["offline"] == "1"
        assert started["pythonpath"] is None
        assert "key is …" in process.log.tail()
        assert endpoint.key not in process.log.tail_bytes().decode()
        assert endpoint.key not in repr(engine.info)
        with pytest.raises(Unanswered) as caught:
            await asyncio.to_thread(ProbeHttp(endpoint.url).get, "/v1/models")
        assert caught.value.status == 401


async def test_loading_shows_what_the_log_tells(tmp_path: Path, install: Install) -> None:
    lines = ["Starting to load model x", "Loading safetensors checkpoint shards:  50% Completed",
             "Model loading took 3 GiB", "GPU KV cache size: 9 tokens"]  # fmt: skip
    model = install(pause=0.4, lines=lines)
    seen: list[tuple[float, str]] = []
    process = worker(tmp_path, vllm.SPEC, str(model), CALM, lambda: seen.append((process.fraction, process.stage)))
    await process.start()
    await process.stop()
    stages = list(dict.fromkeys(stage for _, stage in seen))
    assert "loading the model" in stages
    assert "making room for the context" in stages
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"], "graphics memory is full"),
        (["ValueError: Model architectures ['FlyingCarpet'] are not supported for now."], "FlyingCarpet"),
        (["ValueError: User-specified max_model_len (99999) is greater than the derived"], "99999"),
        (
            ["ValueError: Free memory on device (1/8 GiB) on startup is less than desired GPU memory utilization"],
            "share",
        ),
        (["RuntimeError: Failed to infer device type"], "no graphics card"),
        (["Traceback", "pkg.errors.StrangeError: the moon is in the wrong house"], "moon"),
        (["nothing to learn from this"], "exit code 1"),
    ],
)
async def test_a_failed_load_names_its_reason(tmp_path: Path, install: Install, lines: list[str], words: str) -> None:
    model = install(lines=lines, die=1, **{"die at": len(lines) - 1})
    error = await load_error(tmp_path, model)
    assert words in error.message
    assert error.hint
    assert error.code in ("load_failed", "out_of_memory")


async def test_a_switch_the_version_does_not_know_is_named(tmp_path: Path, install: Install) -> None:
    model = install(refuse=["--cpu-offload-gb"])
    error = await load_error(tmp_path, model, cpu_offload=2)
    assert "--cpu-offload-gb" in error.message


async def test_an_engine_that_is_not_there_is_named_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = await load_error(tmp_path, tmp_path)
    assert error.code == "engine_not_installed"
    assert "pip install vllm" in error.hint


async def test_a_load_the_system_ends_is_told_as_memory(tmp_path: Path, install: Install) -> None:
    model = install(lines=["loading"], die="SIGKILL", **{"die at": 0})
    assert "memory" in (await load_error(tmp_path, model)).message


@pytest.mark.parametrize(("by", "words"), [("SIGKILL", "memory"), ("exit", "exit code 3")])
async def test_a_server_that_dies_in_a_reply_keeps_the_text_and_ends_the_worker(
    tmp_path: Path, install: Install, by: str, words: str
) -> None:
    model = install(token=0.02, by=by, **{"die in reply": 3})
    async with loaded(tmp_path, model) as (engine, process):
        chunks = await collect(engine, chat("Hello"))
        assert text_of(chunks).startswith("Once upon")
        error = failed_of(chunks).error
        assert error["code"] == "engine_crashed"
        assert words in error["message"]
        await until(lambda: process.state == "crashed")


async def test_everything_the_server_started_ends_with_the_worker(tmp_path: Path, install: Install) -> None:
    model = install(grandchild=str(tmp_path / "pid"))
    async with loaded(tmp_path, model):
        grandchild = int((tmp_path / "pid").read_text())
        assert psutil.pid_exists(grandchild)
    await until(lambda: not alive(grandchild))


async def test_everything_ends_when_the_worker_is_killed(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = install(grandchild=str(tmp_path / "pid"))
    process = worker(tmp_path, vllm.SPEC, str(model))
    await process.start()
    pid = process.pid or 0
    tree = [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]
    assert len(tree) == 4, "worker, guard, server, its child"
    left: list[Child] = []

    async def leave(self: Child, close: float, terminate: float) -> None:
        left.append(self)

    monkeypatch.setattr(Child, "put_down", leave)  # as if the server had been killed with it
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not any(alive(one) for one in tree))
    await until(lambda: bool(left))
    await left[0].process.wait()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


async def test_hanging_up_ends_the_request_at_the_server(tmp_path: Path, install: Install) -> None:
    model = install(token=0.05)
    async with loaded(tmp_path, model, parallel=1) as (engine, process):
        stream = engine.generate(chat("Hello"))
        async for chunk in stream:
            if isinstance(chunk, Text):
                break
        await stream.aclose()
        assert process.running == 0
        begun = time.monotonic()
        assert isinstance((await collect(engine, chat("Again")))[-1], Done), "the only place is free again"
        assert time.monotonic() - begun < 30


async def test_a_long_silence_of_the_server_is_no_hang(tmp_path: Path, install: Install) -> None:
    """The worker of a server has nothing to show while the server computes."""
    model = install(token=0.6)
    process = worker(tmp_path, vllm.SPEC, str(model), Limits(stall=0.3, patience=1.0, tick=0.05))
    engine = connect(process, await process.start(), vllm.SPEC)
    try:
        assert done_of(await collect(engine, chat("Hello", params={"max_tokens": 3}))).reason == "length"
    finally:
        await engine.close()
        await process.stop()


async def test_what_a_model_lacks_is_not_offered(tmp_path: Path, install: Install) -> None:
    model = install()
    async with loaded(tmp_path, model, prefix_caching=False) as (engine, _):
        offered = features_of(engine.spec, engine.info)
    assert Feature.JSON_SCHEMA in offered
    assert not offered & {Feature.VISION, Feature.LORA, Feature.EMBEDDINGS, Feature.SPECULATION, Feature.PROMPT_CACHE}


@pytest.mark.parametrize(
    ("program", "owner", "spec"),
    [("sglang", "sglang", sglang.SPEC), ("trtllm-serve", "tensorrt_llm", tensorrt_llm.SPEC)],
    ids=["SGLang", "TensorRT-LLM"],
)
async def test_the_other_servers_too(
    tmp_path: Path, install: Install, program: str, owner: str, spec: LoaderSpec
) -> None:
    model = install(program, owner=owner, asked=str(tmp_path / "asked"))
    async with loaded(tmp_path, model, spec, context=1024) as (engine, _):
        assert done_of(await collect(engine, chat("Hello", logprobs=1))).stats.completion_tokens == 10
        assert done_of(await collect(engine, ask("Hello"))).stats.completion_tokens == 10
        assert engine.info.loader == spec.name
    bodies = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert bodies[0]["body"]["top_k"] == (-1 if program == "sglang" else 0)


def test_the_guard_ends_as_its_child_ended() -> None:
    guard = ROOT / "loaders" / "served" / "parent_watch.py"

    def run(code: str) -> int:
        return subprocess.run(
            [sys.executable, "-I", str(guard), str(os.getpid()), sys.executable, "-c", code],
            timeout=30, start_new_session=True, capture_output=True,
        ).returncode  # fmt: skip

    assert run("raise SystemExit(7)") == 7
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGABRT)") == -signal.SIGABRT
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL


class FullDisk:
    """A log on a disk with no room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        """Nothing."""


def test_a_log_that_cannot_be_written_does_not_stop_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = "for number in range(20_000): print('line', number)"
    child = ServerChild((sys.executable, "-c", many), {}, "", str(tmp_path))
    monkeypatch.setattr(sys, "stderr", FullDisk())
    child.start()
    until_then = time.monotonic() + 20
    while child.ended() is None and time.monotonic() < until_then:
        time.sleep(0.05)
    code, last = child.ended(), list(child.lines)[-1:]
    child.stop()
    monkeypatch.undo()
    assert (code, last) == (0, ["line 19999"])


def test_every_reason_can_be_put_into_words() -> None:
    for reason in load_errors._REASONS:
        assert reason.message.format("x")
        assert reason.hint.format("x")

"""A person's own llama-server in place of the bundled engine: started, watched, ended, and told from what is none."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from loaders.base import Feature, NamedFile, features_of
from loaders.llama import own_server
from loaders.llama_cpp import SPEC
from modules.drivers.llama_server import LlamaServerEngine
from modules.engine.process import WorkerProcess
from modules.errors import EngineError
from modules.types import Text
from tests import gguf_parts
from tests.conftest import Start
from tests.engine.making import MODEL, ROOT, ask, collect, done_of, text_of, until
from tests.loaders.llama_making import gone, loaded_with, raw, request_for, stand_in, worker_for

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
needs_model = [
    pytest.mark.real_model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]
GREEDY = {"max_tokens": 6, "temperature": 0.0, "seed": 1}


def servers(process: WorkerProcess) -> list[psutil.Process]:
    """What the worker has started."""
    return psutil.Process(process.pid).children(recursive=True)


async def reply(engine: LlamaServerEngine) -> str:
    return text_of(await collect(engine, ask("The capital of France is", params=GREEDY)))


class TestOwnServer:
    pytestmark = needs_model

    async def test_it_serves_with_the_settings_as_flags_and_ends_with_its_worker(self, tmp_path: Path) -> None:
        files = {"control_vectors": (NamedFile("mood", str(gguf_parts.control_vector(tmp_path / "v.gguf")), 1.5),)}
        settings = {"context": 512, "parallel": 2, "control_vector_start": 3, "prompt_cache_mib": 64}
        steps: list[float] = []
        process = worker_for(tmp_path, request_for(tmp_path, files=files, own=stand_in(tmp_path), **settings))
        process._on_change = lambda: steps.append(process.fraction)
        try:
            info = await process.start()
            assert info.endpoint is not None
            engine = LlamaServerEngine(info.endpoint, info, SPEC, process)
            assert (info.context, info.slots) == (512, 2)
            assert "my llama-server of your own" in info.details["engine"]
            assert "notes" not in info.details, info.details
            assert max(steps) > 0.1, "the load's progress was told"
            changed = await reply(engine)
            async with httpx.AsyncClient(base_url=info.endpoint.url) as http:
                assert (await http.post("/completion", json={"prompt": "x"})).status_code == 401
            (server,) = servers(process)
            line = server.cmdline()
            assert info.endpoint.key not in " ".join(line)
            assert line[line.index("--host") + 1] == "127.0.0.1"
            assert line[line.index("--control-vector-layer-range") + 1 :][:2] == ["3", "30"]
            assert Feature.SLOT_STATES in features_of(engine.spec, info)
            assert await engine.save_slot("here", "Some words that are kept.") > 4
            await engine.close()
        finally:
            await process.stop()
        await until(lambda: gone(server.pid))
        async with loaded_with(tmp_path, own=stand_in(tmp_path), context=256, parallel=1) as (plain, _):
            assert await reply(plain) != changed, "the control vector changes the text"

    async def test_its_crash_is_told_and_a_dead_worker_leaves_nothing_behind(self, tmp_path: Path) -> None:
        own = stand_in(tmp_path)
        async with loaded_with(tmp_path, own=own, context=512, parallel=1) as (engine, process):
            (server,) = servers(process)
            stream = engine.generate(ask("Once upon a time", params={"ban_eos_token": True}))
            async for chunk in stream:
                if isinstance(chunk, Text):
                    os.kill(server.pid, signal.SIGKILL)
            assert chunk.error["code"] == "engine_crashed"  # type: ignore[union-attr]
            assert "memory" in chunk.error["message"]  # type: ignore[union-attr]
        async with loaded_with(tmp_path, own=own, context=256, parallel=1) as (_, process):
            (server,) = servers(process)
            os.kill(process.pid or 0, signal.SIGKILL)
            await until(lambda: gone(server.pid))

    async def test_an_older_one_is_told_what_it_knows_and_the_rest_is_said(self, tmp_path: Path) -> None:
        own = stand_in(tmp_path, "--kv-unified --cache-reuse --slot-save-path --cors-origins --cache-ram --load-mode")
        async with loaded_with(tmp_path, own=own, context=512, parallel=2, cache_reuse=32) as (engine, _):
            notes = engine.info.details["notes"]
            assert "cache_reuse" in notes
            assert "share of the context" in notes
            assert engine.info.context == 256, "which is what one request has"
            assert "512" in engine.info.details["context_why"]
            assert Feature.SLOT_STATES not in features_of(engine.spec, engine.info)
            done_of(await collect(engine, ask("Hello", params={"max_tokens": 2})))
            assert (await raw(engine, "/props"))["total_slots"] == 2


async def refusal(tmp_path: Path, own: str) -> EngineError:
    """The error of a load with that program."""
    process = worker_for(tmp_path, request_for(tmp_path, own=own))
    with pytest.raises(EngineError) as caught:
        await asyncio.wait_for(process.start(), 60)
    assert process.pid is None
    return caught.value


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "server.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_what_is_no_llama_server_is_refused_with_the_way_out(tmp_path: Path) -> None:
    error = await refusal(tmp_path, program(tmp_path, "echo 'a calculator: --help'"))
    assert "--model" in error.message
    error = await refusal(tmp_path, str(tmp_path / "nowhere"))
    assert "no such program" in error.message
    early = 'case "$1" in --help) echo "--model FNAME";; *) echo "unable to allocate CUDA0 buffer" >&2; exit 1;; esac'
    error = await refusal(tmp_path, program(tmp_path, early))
    assert "memory" in error.message


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_a_server_that_answers_without_its_key_is_not_used(tmp_path: Path) -> None:
    careless = program(tmp_path, f"unset LLAMA_API_KEY; exec '{stand_in(tmp_path)}' \"$@\"")
    error = await refusal(tmp_path, careless)
    assert "without the key" in error.message


KEEPS = """
import os, subprocess, sys
words = [sys.executable, "-I", sys.argv[1], str(os.getpid()), "/bin/sleep", "60"]
child = subprocess.Popen(words, stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


_WORKER = """
import subprocess, sys, time
from loaders.llama.own_server import OwnServer
child = subprocess.Popen([sys.executable, "-c", f"import os; os.kill(os.getpid(), {sys.argv[1]})"])
OwnServer(child, "", "a server", {}, []).watch()
time.sleep(20)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGKILL"])
def test_its_worker_ends_as_it_ended(name: str) -> None:
    number = int(getattr(signal, name))
    line = [sys.executable, "-X", "faulthandler", "-c", _WORKER, str(number)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == -number, done.stderr


async def test_what_the_keeper_starts_ends_when_its_starter_is_killed() -> None:
    keeper = Path(own_server.__file__).with_name("parent_watch.py")
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", KEEPS, str(keeper), stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    await until(lambda: psutil.Process(pid).cmdline()[:1] == ["/bin/sleep"])
    starter.kill()
    await starter.wait()
    await until(lambda: gone(pid))


def test_no_page_can_change_which_program_runs() -> None:
    from modules.ui.settings_tab import BOUNDARIES, editable

    assert "llama_server" in BOUNDARIES
    assert "llama_server" not in {setting.name for setting in editable()}


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
def test_the_program_named_at_the_start_answers_a_chat_with_an_adapter(tmp_path: Path, server: Start) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / MODEL.name).symlink_to(MODEL)
    gguf_parts.adapter(models / "tales.gguf")
    live = server("--models-dir", str(models), "--llama-server", stand_in(tmp_path))
    settings = {"context": 256, "parallel": 1, "threads": 1, "lora": "tales=0.5"}
    live.http.timeout = 120
    live.call("POST", "/api/models/load?wait=1", {"name": MODEL.stem, "settings": settings})
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    assert live.call("POST", "/v1/chat/completions", body)["usage"]["completion_tokens"] == 4
    state = live.call("GET", "/api/state")
    assert "of your own" in str(state)
    assert "tales" in str(state)

"""One worker's life, with real processes and real signals."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from loaders.echo import SPEC
from modules.drivers.connect import connect
from modules.engine.watchdog import Limits
from modules.errors import EngineError, LoadFailed
from modules.types import Text
from tests.engine.making import HASTY, ROOT, ask, collect, done_of, failed_of, running, text_of, until, worker

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]
NO_CLOCK = Limits(stall=3600, linger=3600, tick=3600)
"""With these nothing is noticed by looking now and then, only by the event itself."""


def gone(pid: int) -> bool:
    """No such process, or only its unreaped remains."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_worker_goes_from_stopped_through_ready_and_busy_back_to_stopped(tmp_path: Path) -> None:
    states: list[str] = []
    process = worker(tmp_path, tokens=3, on_change=lambda: states.append(process.state))
    await process.start()
    assert process.info is not None
    engine = connect(process, process.info, SPEC)
    done_of(await collect(engine, ask()))
    await until(lambda: process.state == "ready")
    pid = process.pid
    assert pid is not None
    await process.stop()
    seen = [state for at, state in enumerate(states) if at == 0 or states[at - 1] != state]
    assert seen == ["starting", "ready", "busy", "ready", "stopping", "stopped"]
    assert gone(pid)
    assert process.pid is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("SIGSEGV", "crashed"), ("SIGKILL", "memory"), ("SIGABRT", "stopped"), ("SIGILL", "AVX2")],
)
async def test_a_crash_in_mid_reply_keeps_the_text_and_says_why(tmp_path: Path, name: str, words: str) -> None:
    settings = {"tokens": 50, "speed": 100, "crash_at": 5, "crash_signal": name}
    async with running(tmp_path, limits=NO_CLOCK, **settings) as (engine, process):
        chunks = await asyncio.wait_for(collect(engine, ask()), 20)
        assert sum(chunk.tokens for chunk in chunks if isinstance(chunk, Text)) == 5
        assert words in str(failed_of(chunks).error["message"])
        assert failed_of(chunks).error["code"] == "engine_crashed"
        await until(lambda: process.state == "crashed")
        with pytest.raises(EngineError):
            await engine.tokenize("x")
        assert failed_of(await collect(engine, ask())).error["code"] == "engine_crashed"


async def test_all_requests_of_a_crashed_worker_fail_and_none_waits_for_ever(tmp_path: Path) -> None:
    settings = {"tokens": 500, "speed": 50, "parallel": 2}
    async with running(tmp_path, limits=NO_CLOCK, **settings) as (engine, process):
        replies = [asyncio.create_task(collect(engine, ask())) for _ in range(4)]
        await until(lambda: process.running == 4)
        os.kill(process.pid or 0, signal.SIGKILL)
        for chunks in await asyncio.wait_for(asyncio.gather(*replies), 20):
            assert "memory" in str(failed_of(chunks).error["message"])


async def test_a_reply_that_hangs_is_ended_and_said_to_hang(tmp_path: Path) -> None:
    limits = dataclasses.replace(HASTY, patience=1000)  # a hang that is taken for work does not end in time
    async with running(tmp_path, limits=limits, tokens=50, hang_at=5) as (engine, process):
        chunks = await asyncio.wait_for(collect(engine, ask()), 30)
        assert failed_of(chunks).error["code"] == "engine_hung"
        assert text_of(chunks)
        assert process.state == "crashed"


async def test_a_stopped_process_counts_as_hung(tmp_path: Path) -> None:
    async with running(tmp_path, limits=HASTY, tokens=5000, speed=100) as (engine, process):
        reply = asyncio.create_task(collect(engine, ask()))
        await until(lambda: process.running == 1)
        os.kill(process.pid or 0, signal.SIGSTOP)
        assert failed_of(await asyncio.wait_for(reply, 20)).error["code"] == "engine_hung"


async def test_a_machine_that_slept_does_not_take_its_engine_for_hung(tmp_path: Path) -> None:
    async with running(tmp_path, limits=HASTY, tokens=40, speed=20) as (engine, process):
        reply = asyncio.create_task(collect(engine, ask()))
        await until(lambda: process.running == 1)
        loop, pid = asyncio.get_running_loop(), process.pid or 0
        loop.call_soon(os.kill, pid, signal.SIGSTOP)
        loop.call_soon(time.sleep, HASTY.stall * 2)  # the server stands still as well
        loop.call_later(HASTY.stall * 2 + 0.5, os.kill, pid, signal.SIGCONT)
        assert done_of(await reply).stats.completion_tokens == 40


async def test_a_client_that_stops_reading_does_not_get_the_engine_killed(tmp_path: Path) -> None:
    async with running(tmp_path, limits=HASTY, tokens=50, speed=200, parallel=1) as (engine, process):
        stream = engine.generate(ask())
        await anext(stream)
        await asyncio.sleep(HASTY.stall * (HASTY.patience + 1))
        assert process.alive
        assert done_of([chunk async for chunk in stream]).stats.completion_tokens == 50
        assert (process.running, process._paused) == (0, 0)


async def test_a_hang_is_noticed_beside_a_reply_that_is_complete_but_not_read(tmp_path: Path) -> None:
    async with running(tmp_path, limits=HASTY, tokens=50, hang_at=5) as (engine, process):
        unread = engine.generate(ask(params={"max_tokens": 3}))
        await anext(unread)
        await until(lambda: process.running == 0)
        assert failed_of(await asyncio.wait_for(collect(engine, ask()), 20)).error["code"] == "engine_hung"
        await unread.aclose()


async def test_a_line_nobody_expects_ends_the_load_with_an_error_instead_of_never(tmp_path: Path) -> None:
    process = worker(tmp_path, load_time=300)
    loading = asyncio.create_task(process.start())
    await until(lambda: process.fraction > 0)
    pid = process.pid or 0
    process._deliver({"event": "progress", "fraction": None, "stage": "?"})
    with pytest.raises(EngineError, match="unexpected error"):
        await asyncio.wait_for(loading, 20)
    await process.stop()
    assert process.state == "crashed"
    assert gone(pid)


async def test_a_listener_that_fails_does_not_end_the_engine(tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("a mistake in a listener")

    process = worker(tmp_path, on_change=broken)
    await process.start()
    assert process.state == "ready"
    await process.stop()
    assert process.pid is None


async def test_a_slow_reply_is_not_taken_for_a_hang(tmp_path: Path) -> None:
    limits = Limits(stall=2.5, tick=0.1)  # the whole reply takes 3 s, a token 1 s
    async with running(tmp_path, tokens=4, speed=1.0, limits=limits) as (engine, _):
        assert done_of(await collect(engine, ask())).stats.completion_tokens == 4


async def test_a_cancelled_request_that_does_not_end_ends_the_worker(tmp_path: Path) -> None:
    limits = Limits(stall=60, linger=0.5, tick=0.1, close=1, terminate=1)
    async with running(tmp_path, tokens=50, hang_at=5, limits=limits) as (engine, process):
        stream = engine.generate(ask())
        async for chunk in stream:
            if isinstance(chunk, Text):
                break
        await until(lambda: b"hangs before token 5" in process.log.tail_bytes())
        await stream.aclose()
        await until(lambda: process.state == "crashed")


async def test_an_engines_exception_fails_the_reply_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path, tokens=10, error_at=4) as (engine, process):
        chunks = await collect(engine, ask())
        assert "fails at token 4" in str(failed_of(chunks).error["message"])
        assert text_of(chunks)
        assert process.alive
        assert await engine.detokenize(await engine.tokenize("still here")) == "still here"


async def test_cancel_frees_the_engine_within_200_ms(tmp_path: Path) -> None:
    async with running(tmp_path, tokens=100_000, speed=50, context=200_000) as (engine, process):
        took = []
        for _ in range(5):  # the quickest counts: other programs can make it slower, never quicker
            stream = engine.generate(ask())
            async for chunk in stream:
                if isinstance(chunk, Text):
                    break
            began = time.monotonic()
            await stream.aclose()
            await until(lambda: process.running == 0)
            took.append(time.monotonic() - began)
        assert min(took) < 0.2
        assert process.alive


async def test_cancel_reaches_a_request_that_waits_for_a_slot(tmp_path: Path) -> None:
    async with running(tmp_path, tokens=8000, speed=50, parallel=1) as (engine, process):
        first = asyncio.create_task(collect(engine, ask()))
        await until(lambda: process.running == 1)
        second = asyncio.create_task(collect(engine, ask()))
        await until(lambda: process.running == 2)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await until(lambda: process.running == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_output_of_c_libraries_goes_to_the_log_and_not_into_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    script = "clean text, whatever the library prints"
    async with running(tmp_path, script=script, noise=True) as (engine, process):
        assert text_of(await collect(engine, ask())) == script
        os.kill(process.pid or 0, signal.SIGKILL)
        await until(lambda: process.state == "crashed")
    assert process.log.tail().count('{"id": 1, "kind": "text", "text": "noise", "tokens": 1}') > 5


async def test_a_load_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    process = worker(tmp_path, load_error="The file is of cheese.")
    with pytest.raises(LoadFailed, match=r"The file is of cheese\."):
        await process.start()
    assert process.state == "crashed"
    assert process.pid is None


async def test_a_load_function_that_is_not_there_is_explained_from_the_log(tmp_path: Path) -> None:
    process = worker(tmp_path)
    process._function = "no_such_package.loader:load"
    with pytest.raises(LoadFailed, match="no_such_package is not installed"):
        await process.start()


async def test_a_worker_killed_while_loading_fails_the_load(tmp_path: Path) -> None:
    process = worker(tmp_path, load_time=300)
    loading = asyncio.create_task(process.start())
    await until(lambda: process.fraction > 0)
    os.kill(process.pid or 0, signal.SIGKILL)
    with pytest.raises(LoadFailed, match="memory"):
        await asyncio.wait_for(loading, 20)


async def test_loading_without_progress_times_out_and_with_progress_does_not(tmp_path: Path) -> None:
    limits = Limits(start=1.5, patience=1, tick=0.1)
    slow = worker(tmp_path, load_time=3.0, limits=limits)
    await slow.start()  # twice the limit, but it moves
    await slow.stop()
    stuck = worker(tmp_path, load_time=300, limits=limits)
    loading = asyncio.create_task(stuck.start())
    await until(lambda: stuck.fraction > 0)
    os.kill(stuck.pid or 0, signal.SIGSTOP)
    with pytest.raises(LoadFailed, match="no progress"):
        await asyncio.wait_for(loading, 20)


async def test_stop_ends_a_load_at_once(tmp_path: Path) -> None:
    process = worker(tmp_path, load_time=3600)
    loading = asyncio.create_task(process.start())
    await until(lambda: process.fraction > 0)
    await asyncio.wait_for(process.stop(), 20)
    with pytest.raises(EngineError):
        await loading


async def test_stop_ends_a_process_that_does_not_listen(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(close=0.2, terminate=0.2)) as (_, process):
        pid = process.pid or 0
        os.kill(pid, signal.SIGSTOP)
        await asyncio.wait_for(process.stop(), 20)
        assert gone(pid)
        await process.stop()  # twice does no harm


async def test_requests_of_a_model_that_is_unloaded_end_with_an_error_that_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, tokens=1000, speed=50) as (engine, process):
        reply = asyncio.create_task(collect(engine, ask()))
        await until(lambda: process.running == 1)
        await process.stop()
        assert failed_of(await reply).error["code"] == "engine_stopped"


async def test_an_empty_prompt_is_refused_before_the_engine(tmp_path: Path) -> None:
    async with running(tmp_path) as (engine, _):
        for prompt in ("", ()):
            assert failed_of(await collect(engine, ask(prompt))).error["status"] == 400


async def test_a_speed_of_100_tokens_a_second_is_100(tmp_path: Path) -> None:
    async with running(tmp_path, tokens=100, speed=100) as (engine, _):
        started = time.monotonic()
        await collect(engine, ask())
        # At least; how much more depends on what else the machine does.
        assert time.monotonic() - started >= 0.97


SERVER = """
import asyncio, sys
sys.path.insert(0, ".")
from pathlib import Path
from tests.engine.making import worker, ask
from loaders.echo import SPEC
from modules.drivers.connect import connect
from modules.types import Text

async def main():
    process = worker(Path(sys.argv[1]), tokens=100000, speed=100, context=1000000, load_time=float(sys.argv[2]))
    loading = asyncio.create_task(process.start())
    while process.fraction == 0:
        await asyncio.sleep(0.01)
    print(process.pid, "it loads", flush=True)
    engine = connect(process, await loading, SPEC)
    async for chunk in engine.generate(ask()):
        if isinstance(chunk, Text):
            print("it answers", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("load_time", [0.1, 300], ids=["while it answers", "while it loads"])
async def test_a_server_killed_with_9_leaves_no_worker(tmp_path: Path, load_time: float) -> None:
    server = subprocess.Popen(  # noqa: ASYNC220 - it starts in a moment
        [sys.executable, "-c", SERVER, str(tmp_path), str(load_time)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        pid = int(server.stdout.readline().split()[0])
        assert load_time > 1 or server.stdout.readline() == "it answers\n"
        assert not gone(pid)
        server.kill()
        server.wait()
        await until(lambda: gone(pid))

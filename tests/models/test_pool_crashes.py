"""An engine that dies: loaded again by the next request, unless it dies every time; the others do not notice."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from modules.errors import (
    EngineCrashed,
)
from modules.models import crash_count
from tests.engine.making import ask, collect, done_of, failed_of, until
from tests.models.test_pool import made, reply

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_a_crashed_model_is_reloaded_by_the_next_request_and_says_so(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo", settings={"tokens": 1000, "speed": 20})
        running = asyncio.create_task(reply(models, most=1000))
        await until(lambda: models.status.running == 1)
        os.kill(next(iter(models._hosts.values())).process.pid or 0, signal.SIGSEGV)
        failed = failed_of(await running)
        assert failed.error["code"] == "engine_crashed"
        await until(lambda: models.status.state == "crashed")
        assert (models.status.error or {})["code"] == "engine_crashed"
        async with models.lease(None) as lease:
            assert [notice.code for notice in lease.notices] == ["engine_restarted"]
            done_of(await collect(lease.engine, ask(params={"max_tokens": 2})))  # type: ignore[arg-type]
        assert models._crashes.counts == {}, "a reply that ends well ends the count"


async def test_a_model_that_crashes_every_time_is_left_alone_until_someone_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_count, "BACK_OFF", (0.0, 0.05, 0.1))
    async with made(tmp_path) as models:
        await models.load("echo", settings={"tokens": 5, "crash_at": 1, "crash_signal": "SIGKILL"})
        for _ in range(4):
            failed_of(await reply(models))
        with pytest.raises(EngineCrashed, match="4 times in a row"):
            await reply(models)
        await models.load("echo", settings={"tokens": 5})
        done_of(await reply(models))


async def test_a_crash_of_one_model_leaves_the_other_alone(tmp_path: Path) -> None:
    async with made(tmp_path, max_loaded=2) as models:
        await models.load("echo", settings={"tokens": 40, "speed": 50})
        await models.load("echo-b", settings={"tokens": 40, "crash_at": 3})
        fine = asyncio.create_task(reply(models, "echo"))
        failed_of(await reply(models, "echo-b"))
        done_of(await fine)


async def test_a_crash_that_a_request_brought_about_does_not_count(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo", settings={"tokens": 5, "crash_at": 1, "crash_signal": "SIGKILL"})
        for _ in range(5):
            failed_of(await reply(models))
            models.excuse_crash("echo")
            await until(lambda: models._hosts["echo"].crashed)
        assert models._crashes.counts.get("echo", 0) == 0

"""Models over many steps: random sequences, and the starter model loaded again and again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from modules.engine.watchdog import Limits
from modules.errors import EnginehouseError
from modules.models.pool import ModelPool
from modules.types import Done, Failed, Text
from tests.engine.making import MODEL, ask, done_of
from tests.models.test_pool import NAMES, made, reply

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]


async def test_random_sequences_never_lock_up_and_never_have_two_owners(tmp_path: Path) -> None:
    """The short form; tests/faults/random_steps.py is the long one."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    async with made(tmp_path) as models:
        await run_random(models, random.Random(seed), 120)


async def run_random(models: ModelPool, chance: random.Random, steps: int) -> None:
    tasks: set[asyncio.Task[Any]] = set()

    async def generate(name: str, cancel_after: int) -> None:
        async with models.lease(name) as lease:
            stream = lease.engine.generate(ask("one two three"))
            async for chunk in stream:
                if isinstance(chunk, (Done, Failed)):
                    return
                cancel_after -= isinstance(chunk, Text)
                if cancel_after == 0:
                    break
            await stream.aclose()

    for _ in range(steps):
        name = chance.choice(NAMES)
        match chance.randrange(8):
            case 0:
                settings = {"tokens": 20, "speed": chance.choice([0, 200]), "load_time": chance.choice([0, 0.05])}
                tasks.add(asyncio.create_task(models.load(name, settings=settings)))
            case 1:
                tasks.add(asyncio.create_task(models.unload()))
            case 2:
                tasks.add(asyncio.create_task(models.load("no-such-model")))
            case 3 if tasks:
                chance.choice(list(tasks)).cancel()
            case 4:
                for host in list(models._hosts.values()):
                    if chance.random() < 0.3 and host.process.pid:
                        os.kill(host.process.pid, chance.choice([signal.SIGKILL, signal.SIGSEGV]))
            case _:
                tasks.add(asyncio.create_task(generate(name, chance.choice([-1, 1, 5]))))
        assert len([host for host in models._hosts.values() if host.process.alive]) <= 1, "two owners of one place"
        await asyncio.sleep(chance.choice([0, 0.01, 0.05]))
        done = {task for task in tasks if task.done()}
        tasks -= done
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                assert isinstance(error, EnginehouseError), repr(error)
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 150)
    models._crashes.counts.clear()
    await models.load("echo", settings={"tokens": 2})
    done_of(await reply(models, "echo"))
    assert all(host.users == 0 for host in models._hosts.values())


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_six_cycles_of_a_real_model_give_its_memory_back(tmp_path: Path) -> None:
    async with made(tmp_path, Limits()) as models:
        (models._paths.models / MODEL.name).symlink_to(MODEL)
        server = psutil.Process()
        sizes, own = [], []
        for _ in range(6):
            await models.load(MODEL.stem, settings={"threads": 1})
            assert isinstance((await reply(models, most=2))[-1], Done)
            sizes.append(models.read_memory().engine)
            await models.unload()
            assert models.read_memory().engine == 0
            own.append(server.memory_info().rss)
        assert min(sizes) > 90 << 20, "the model was in memory"
        assert own[-1] - own[0] < 50 << 20, "and never in ours"


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_a_real_model_shows_progress_while_it_loads(tmp_path: Path) -> None:
    async with made(tmp_path, Limits(tick=0.05)) as models:
        (models._paths.models / MODEL.name).symlink_to(MODEL)
        seen: set[float] = set()
        models.on_change.append(lambda status: seen.add(status.progress) if status.progress is not None else None)
        steps: list[int] = []
        while not steps or (steps[-1] < 4 and len(steps) < 3):  # a program that waits for its turn looks less often
            seen.clear()
            await models.load(MODEL.stem, settings={"context": 512})
            await models.unload()
            steps.append(len(seen))
        assert max(steps) >= 4, steps

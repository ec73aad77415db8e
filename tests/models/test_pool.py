"""Load, unload, swap, lend, reload: the owner of the workers, with real workers."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from loaders import Registry, echo
from modules.disk.durable import read_yaml
from modules.engine.watchdog import Limits
from modules.errors import (
    BadParameter,
    Cancelled,
    LoadFailed,
    NotFound,
    NotReady,
    Unsupported,
)
from modules.models import loaded_model as models_host
from modules.models.catalog import Catalog
from modules.models.pool import ModelPool
from modules.settings.paths import Paths
from modules.types import Done, Progress
from tests.engine.making import CALM, ask, collect, done_of, text_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
NAMES = ("echo", "echo-b", "echo-c")


class FakeSettings:
    """The settings that Models looks at."""

    def __init__(self, **values: Any) -> None:
        self.values = {
            "model": "",
            "loader": "",
            "max_loaded": 1,
            "load_fallback": "offer",
            "llama_server": "",
        } | values

    def get(self, name: str) -> Any:
        return self.values[name]


def catalog(paths: Paths) -> tuple[Catalog, Registry]:
    """The real catalogue, with three echo models in it."""
    registry = Registry().with_more([dataclasses.replace(echo.SPEC, builtin_models=NAMES)])
    return Catalog(paths.models, registry), registry


@asynccontextmanager
async def made(tmp_path: Path, limits: Limits = CALM, **settings: Any) -> AsyncIterator[ModelPool]:
    paths = Paths.below(tmp_path / "user_data")
    models = ModelPool(*catalog(paths), paths, FakeSettings(**settings), limits)
    try:
        yield models
    finally:
        await models.close()


def kept(tmp_path: Path) -> dict[str, Any]:
    """What models.yaml says; it is written in a thread, some time after a load."""
    value = read_yaml(tmp_path / "user_data" / "models.yaml")[0]
    return value if isinstance(value, dict) else {}


async def reply(models: ModelPool, name: str | None = None, most: int = 50) -> list[Any]:
    async with models.lease(name) as lease:
        return await collect(lease.engine, ask(params={"max_tokens": most}))  # type: ignore[arg-type]


async def test_a_load_is_seen_step_by_step(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        assert models.status.state == "empty"
        seen: list[Any] = []
        models.on_change.append(seen.append)
        status = await models.load("echo", settings={"load_time": 1.0})
        assert (status.state, status.model, status.loader) == ("ready", "echo", "echo")
        assert status.info is not None
        assert status.info.context == 8192
        assert status.why
        assert status.memory_bytes > 1_000_000
        assert status.settings["load_time"] == 1.0
        parts = [one.progress for one in seen if one.state == "starting" and one.progress is not None]
        assert len(parts) > 3
        assert parts == sorted(parts)
        await models.unload()
        assert models.status.state == "empty"


async def test_a_key_of_an_endpoint_is_never_in_a_status(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo")
        assert models.status.info is not None
        assert models.status.info.endpoint is None


async def test_a_request_that_names_a_model_loads_it(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        steps: list[Progress] = []
        async with models.lease("echo", steps.append) as lease:
            assert text_of(await collect(lease.engine, ask("hi"))) == "hi"  # type: ignore[arg-type]
        assert [step.stage for step in steps][-1] == "loading"
        assert models.status.model == "echo"


async def test_bad_names_and_bad_settings_keep_the_loaded_model(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo")
        pid = [host.process.pid for host in models._hosts.values()]
        (models._paths.models / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
        for name, settings, error in (
            ("nothing-like-it", None, NotFound),
            ("echo-b", {"colour": 3}, BadParameter),
            ("echo-b", {"speed": -1}, BadParameter),
            ("broken", None, Unsupported),  # 422: nothing failed, it cannot be done
        ):
            with pytest.raises(error):
                await models.load(name, settings=settings)
        with pytest.raises(BadParameter, match="does not open"):
            await models.load("echo", loader="llama.cpp")
        assert models.status.state == "ready"
        assert [host.process.pid for host in models._hosts.values()] == pid


async def test_a_failed_load_says_why_and_the_next_request_takes_the_last_good_model(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo")
        with pytest.raises(LoadFailed, match="of cheese"):
            await models.load("echo-b", settings={"load_error": "It is made of cheese."})
        assert models.status.state == "failed"
        assert "of cheese" in (models.status.error or {})["message"]
        async with models.lease(None) as lease:
            assert lease.engine.info.model == "echo"
            assert [notice.code for notice in lease.notices] == ["model_loaded"]
        with pytest.raises(LoadFailed):  # its settings are not kept: they never worked
            await models.load("echo-b", settings={"load_error": "again"})
        await models.load("echo-b")


async def test_a_worker_that_cannot_be_connected_to_is_a_failed_load_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def refuse(process: Any, info: Any, spec: Any) -> Any:
        pids.append(process.pid)
        raise ValueError("not an http address: gopher://x")

    monkeypatch.setattr(models_host, "connect", refuse)
    async with made(tmp_path) as models:
        with pytest.raises(LoadFailed, match="gopher"):
            await models.load("echo")
        assert not psutil.pid_exists(pids[0])
        assert models.status.state == "failed"
        monkeypatch.undo()
        assert (await models.load("echo")).state == "ready"


async def test_connecting_which_may_read_certificates_holds_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[threading.Thread] = []
    real = models_host.connect

    def watched(process: Any, info: Any, spec: Any) -> Any:
        where.append(threading.current_thread())
        return real(process, info, spec)

    monkeypatch.setattr(models_host, "connect", watched)
    async with made(tmp_path) as models:
        assert (await models.load("echo")).state == "ready"
        assert where
        assert where[0] is not threading.current_thread()


async def test_a_swap_waits_for_running_replies_and_nobody_starves(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo", settings={"tokens": 40})
        order: list[str] = []
        begun, over = asyncio.Event(), asyncio.Event()

        async def run(name: str, until_then: asyncio.Event | None = None) -> None:
            async with models.lease(name) as lease:
                begun.set()
                if until_then is not None:
                    await until_then.wait()
                done_of(await collect(lease.engine, ask()))  # type: ignore[arg-type]
                order.append(name)

        first = asyncio.create_task(run("echo", over))
        await begun.wait()
        second = asyncio.create_task(run("echo-b"))
        await until(lambda: models.status.waiting == 1)
        third = asyncio.create_task(run("echo"))  # behind the one that waits for the swap
        await until(lambda: models.status.waiting == 2)
        over.set()
        await asyncio.gather(first, second, third)
        assert order == ["echo", "echo-b", "echo"]


async def test_a_model_beyond_max_loaded_takes_the_place_of_the_longest_idle_one(tmp_path: Path) -> None:
    async with made(tmp_path, max_loaded=2) as models:
        for name in ("echo", "echo-b"):
            await reply(models, name)
        await reply(models, "echo")
        await reply(models, "echo-c")
        assert sorted(str(status.model) for status in models.statuses) == ["echo", "echo-c"]


async def test_concurrent_requests_for_a_model_load_it_once(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        starts: list[Any] = []
        models.on_change.append(lambda status: starts.append(status) if status.progress == 0.0 else None)
        answers = await asyncio.gather(*(reply(models, "echo") for _ in range(12)))
        assert all(isinstance(chunks[-1], Done) for chunks in answers)
        assert len(models._hosts) == 1
        assert len({host.process.pid for host in models._hosts.values()}) == 1


async def test_a_request_without_a_name_takes_the_only_the_set_or_the_last_model(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        with pytest.raises(NotReady, match="no model yet"):
            await reply(models)
        await models.load("echo-b")
        await until(lambda: kept(tmp_path).get("last") == "echo-b")
    async with made(tmp_path) as models:  # the next run of the program
        async with models.lease(None) as lease:
            assert lease.engine.info.model == "echo-b"
            assert "used last" in lease.notices[0].message
    async with made(tmp_path, model="echo-c", loader="echo") as models:
        async with models.lease(None) as lease:
            assert lease.engine.info.model == "echo-c"
            assert "in the settings" in lease.notices[0].message
        assert "in the settings" in models.status.why


async def test_the_last_settings_of_a_model_are_used_again_and_bad_ones_are_explained(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo", settings={"tokens": 3, "context": 64})
        await until(lambda: kept(tmp_path).get("last") == "echo")
        await models.load("echo-b")
        await until(lambda: kept(tmp_path).get("last") == "echo-b")
        status = await models.load("echo")
        assert status.settings["tokens"] == 3
        assert "settings it had last" in status.why
        await until(lambda: kept(tmp_path).get("last") == "echo")
        assert models.saved_settings("echo", "echo") == {"tokens": 3, "context": 64}
    file = tmp_path / "user_data" / "models.yaml"
    file.write_text(file.read_text().replace("context: 64", "context: -64"))
    async with made(tmp_path) as models:
        status = await models.load("echo")
        assert status.settings["context"] == 8192
        assert "do not fit any more" in status.why


async def test_an_unload_ends_a_load_and_everyone_who_waits_for_it(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        loading = asyncio.create_task(models.load("echo", settings={"load_time": 3600}))
        await until(lambda: models.status.progress not in (None, 0.0))
        waiting = asyncio.create_task(reply(models, "echo"))
        other = asyncio.create_task(reply(models, "echo-b"))
        await until(lambda: models.status.waiting == 1 and sum(host.users for host in models._hosts.values()) == 1)
        await asyncio.wait_for(models.unload(), 20)
        for task in (loading, waiting, other):
            with pytest.raises(Cancelled):
                await asyncio.wait_for(task, 20)
        assert models.status.state == "empty"


async def test_another_load_takes_the_place_of_one_that_nobody_uses_yet(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        first = asyncio.create_task(models.load("echo", settings={"load_time": 3600}))
        await until(lambda: models.status.progress not in (None, 0.0))
        status = await asyncio.wait_for(models.load("echo-b"), 20)
        assert status.model == "echo-b"
        with pytest.raises(Cancelled):
            await first


async def test_a_client_that_goes_while_a_model_loads_leaves_the_load_going(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo", settings={"load_time": 1.0})
        await until(lambda: kept(tmp_path).get("last") == "echo")
        await models.unload()
        leaving = asyncio.create_task(reply(models, "echo"))
        await until(lambda: models.status.state == "starting")
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await until(lambda: models.status.state == "ready")
        assert all(host.users == 0 for host in models._hosts.values())


async def test_the_log_of_the_engine_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    async with made(tmp_path) as models:
        await models.load("echo", settings={"noise": True})
        await reply(models)
        assert any("noise" in line for line in models.log_lines(50))


async def test_memory_is_told_and_comes_back_after_each_of_six_cycles(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        server, megabyte = psutil.Process(), 1 << 20
        before = server.memory_info().rss
        for _ in range(6):
            await models.load("echo", settings={"memory": 64})
            figures = models.read_memory()
            assert figures.engine > 64 * megabyte
            assert figures.total > figures.available > 0
            pid = next(iter(models._hosts.values())).process.pid or 0
            await models.unload()
            assert not psutil.pid_exists(pid)
            assert models.read_memory().engine == 0
        assert server.memory_info().rss - before < 8 * megabyte

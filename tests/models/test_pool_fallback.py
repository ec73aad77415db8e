"""A load that does not fit: what is offered, what is taken when asked, and what is learned; with real workers."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from modules.disk.durable import read_yaml
from modules.errors import LoadFailed
from modules.estimates.values import Estimate, Settings, Share
from modules.formats.facts import ModelFacts
from modules.hardware.values import Hardware
from modules.models import memory
from modules.models.status import ModelStatus
from tests.engine.making import MODEL, ask, collect, text_of, until
from tests.models.test_pool import kept, made

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
TIGHT = {"context": 4096, "fails_above": 1024}


async def test_a_load_that_does_not_fit_offers_less_and_keeps_quiet_otherwise(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        heard: list[ModelStatus] = []
        models.on_change.append(heard.append)
        with pytest.raises(LoadFailed) as failed:
            await models.load("echo", settings=TIGHT)
        assert failed.value.fallback is not None
        assert failed.value.fallback["settings"]["context"] == 2048
        assert failed.value.fallback["says"] == "The context is 2,048 tokens."
        assert (failed.value.fallback["model"], failed.value.fallback["loader"]) == ("echo", "echo")
        assert failed.value.fallback["changes"] == [
            {"name": "context", "label": "Context length", "was": "4,096", "now": "2,048"}
        ]
        assert models.status.state == "failed"
        assert (models.status.error or {})["fallback"] == failed.value.fallback
        # Whoever hears of a failure hears at once what would fit.
        assert [status.error == models.status.error for status in heard if status.state == "failed"] == [True]
        assert not any(status.error for status in heard if status.state == "starting")
        with pytest.raises(LoadFailed) as failed:
            await models.load("echo", settings={"load_error": "It is made of cheese."})
        assert failed.value.fallback is None
        assert "fallback" not in failed.value.as_dict()


async def test_less_is_taken_when_it_was_asked_for_and_what_changed_is_said(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        status = await models.load("echo", settings=TIGHT, fallback=True)
        assert status.state == "ready"
        assert status.settings["context"] == 1024
        assert "The context is 1,024 tokens." in status.why
        with pytest.raises(LoadFailed):  # three times less at most
            await models.load("echo-b", settings={"context": 8192, "fails_above": 64}, fallback=True)
        with pytest.raises(LoadFailed):
            await models.load("echo-b", settings=TIGHT, fallback=False)


async def test_the_setting_takes_less_for_a_load_and_for_a_request_that_needs_the_model(tmp_path: Path) -> None:
    async with made(tmp_path, load_fallback="take") as models:
        assert (await models.load("echo", settings=TIGHT)).settings["context"] == 1024
        await until(lambda: kept(tmp_path).get("last") == "echo")
        models._last.remember("echo", "echo", TIGHT)
        await models.unload()
        async with models.lease("echo") as lease:
            assert [notice.code for notice in lease.notices] == ["load_fallback", "load_fallback"]
            assert "not enough memory" in lease.notices[0].message
            assert text_of(await collect(lease.engine, ask("hi"))) == "hi"  # type: ignore[arg-type]
        assert models.status.settings["context"] == 1024
        assert all(host.users == 0 for host in models._hosts.values())


async def test_a_load_that_cannot_fit_is_warned_of_and_not_forbidden(tmp_path: Path) -> None:
    def huge(facts: ModelFacts, settings: Settings, hardware: Hardware) -> Estimate:
        return Estimate((Share("cpu", 1 << 60, 0, 0, 0),), "too large", "It takes more than there is.")

    async with made(tmp_path) as models:
        registry = models._planner._registry
        spec = dataclasses.replace(registry.get("echo"), estimate=huge)
        models._planner._registry = registry.with_more([spec])
        status = await models.load("echo")
        assert status.state == "ready"
        assert "It may not fit: It takes more than there is." in status.why


async def test_an_estimate_that_fails_is_no_reason_not_to_load(tmp_path: Path) -> None:
    def broken(facts: ModelFacts, settings: Settings, hardware: Hardware) -> Estimate:
        raise ZeroDivisionError

    async with made(tmp_path) as models:
        registry = models._planner._registry
        models._planner._registry = registry.with_more([dataclasses.replace(registry.get("echo"), estimate=broken)])
        assert (await models.load("echo")).state == "ready"


async def test_a_load_is_measured_after_it_and_after_its_first_reply_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    async with made(tmp_path) as models:
        monkeypatch.setattr(models.estimating, "learn", lambda model, spec, settings, pid: measured.append(pid))
        await models.load("echo")
        await until(lambda: len(measured) == 1)
        for _ in range(3):
            async with models.lease("echo") as lease:
                await collect(lease.engine, ask("hi"))  # type: ignore[arg-type]
        await until(lambda: len(measured) == 2)
        await models._measuring.close()
        assert len(measured) == 2


async def test_what_was_measured_is_compared_with_the_estimate_without_its_correction(tmp_path: Path) -> None:
    def half(facts: ModelFacts, settings: Settings, hardware: Hardware) -> Estimate:
        real = memory.tree_bytes(os.getpid()) or 0
        return Estimate((Share("cpu", real // 2, 0, 0, 0),), "fits", "It fits.")

    async with made(tmp_path) as models:
        model = models._planner.plan("echo", None, None).model
        spec = dataclasses.replace(models._planner._registry.get("echo"), estimate=half)
        settings = spec.check_settings({})
        for _ in range(2):
            ratio = models.estimating.learn(model, spec, settings, os.getpid())
            assert ratio == pytest.approx(2.0, rel=0.1)
        estimate = models.estimating.estimate(model, spec, settings)
        assert estimate.factor == pytest.approx(1.25, rel=0.03)
        assert "after 1 earlier load" in estimate.why


async def test_switching_the_loader_and_back_keeps_the_settings_of_each(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        await models.load("echo", settings={"context": 64})
        await until(lambda: models.saved_settings("echo", "echo") == {"context": 64})
        models._last.remember("echo", "another", {"colour": "red"})
        status = await models.load("echo", loader="echo")
        assert status.settings["context"] == 64
        models.forget_settings("echo", "echo")
        assert (await models.load("echo", loader="echo")).settings["context"] == 8192


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
async def test_a_real_load_takes_what_was_estimated_and_its_figure_is_kept(tmp_path: Path) -> None:
    async with made(tmp_path) as models:
        (models._paths.models / MODEL.name).symlink_to(MODEL)
        plan = models.planned(MODEL.stem, None, {"context": 1024, "threads": 1})
        estimate = models.estimating.estimate(plan.model, plan.spec, plan.settings)
        assert estimate.verdict in ("fits", "tight")
        await models.load(MODEL.stem, settings={"context": 1024, "threads": 1})
        file = tmp_path / "user_data" / "footprints.yaml"
        await until(file.exists)
        kinds = read_yaml(file)[0]["kinds"]
        ratio = kinds["llama.cpp Q4_1"][MODEL.stem]
        assert ratio == pytest.approx(1.0, abs=0.1)
        taken = models.read_memory().engine
        least = estimate.total - sum(share.compute for share in estimate.shares)
        assert 0.9 * least < taken < 1.1 * estimate.total

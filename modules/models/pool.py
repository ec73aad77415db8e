"""The models that are loaded: load, unload, swap, lend out, reload after a crash.

Whoever wants an engine takes a lease. A model that is loaded and has room is lent at once. Everything that
changes what is loaded goes through one first-come-first-served gate: the one inside waits until the replies of
the model whose place it needs are done, and those behind it wait for it, so nobody starves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from loaders import Registry
from loaders.base import LoaderSpec
from modules.drivers.base import Engine
from modules.engine.watchdog import Limits
from modules.engine.worker_log import WorkerLog
from modules.errors import Cancelled, EnginehouseError, LoadFailed
from modules.estimates.corrections import Footprints
from modules.hardware.reader import HardwareReader
from modules.models import memory
from modules.models.catalog import Catalog, check_writes_text
from modules.models.crash_count import CrashCount
from modules.models.estimates import Estimating, own_engine
from modules.models.fallback import MOST_TRIES, said
from modules.models.footprint_recorder import Measuring
from modules.models.last_used import LastUsed
from modules.models.lease import Lease
from modules.models.loaded_model import LoadedModel
from modules.models.model_file import ModelFile
from modules.models.plan import Plan, Planner
from modules.models.status import ModelStatus
from modules.settings.paths import Paths
from modules.settings.store import Settings
from modules.types import Decision, Notice, Progress

OnProgress = Callable[[Progress], None]


class ModelPool:
    """Owner of the workers. All methods belong to the server's event loop.

    `on_change` callbacks get the ModelStatus of whatever changed; they must not wait.
    """

    def __init__(
        self, catalog: Catalog, registry: Registry, paths: Paths, settings: Settings,
        limits: Limits | None = None, hardware: HardwareReader | None = None,
    ) -> None:  # fmt: skip
        self.on_change: list[Callable[[ModelStatus], None]] = []
        self._paths = paths
        self._settings = settings
        self._limits = limits
        self._last = LastUsed(paths.root / "models.yaml")
        self.footprints = Footprints(paths.root / "footprints.yaml")
        reader, own = hardware or HardwareReader(paths.scratch / "devices.json"), own_engine(settings.get)
        self.estimating = Estimating(reader, self.footprints, catalog.get, self._given_up, own)
        self._planner = Planner(catalog, registry, settings, self._last, self.estimating)
        self._measuring = Measuring(self.estimating)
        self._hosts: dict[str, LoadedModel] = {}
        self._focus: LoadedModel | None = None
        self._gate = asyncio.Lock()
        self._waiting = 0
        self._crashes = CrashCount()
        self._unloads = 0

    # ── what there is ───────────────────────────────────────────────────────────────────────────────

    @property
    def status(self) -> ModelStatus:
        """The model in the foreground: the one loaded or asked for last."""
        return ModelStatus(waiting=self._waiting) if self._focus is None else self._focus.status(self._waiting)

    @property
    def statuses(self) -> tuple[ModelStatus, ...]:
        """Every model that is loaded, loading, or has crashed."""
        return tuple(host.status() for host in self._hosts.values())

    @property
    def problems(self) -> list[str]:
        """What was wrong with models.yaml and footprints.yaml."""
        return [*self._last.problems, *self.footprints.problems]

    def read_memory(self) -> memory.Memory:
        """The machine's, the server's and the workers' memory; some milliseconds, call it in a thread."""
        return memory.read([host.process.pid for host in list(self._hosts.values()) if host.process.pid])

    def log_lines(self, count: int = 200) -> list[str]:
        """The end of the log of the engine in the foreground."""
        log = WorkerLog(self._paths.logs / "engine.log") if self._focus is None else self._focus.log
        return log.tail(count)

    def saved_settings(self, name: str, loader: str) -> Mapping[str, Any]:
        """What the model was loaded with last by that loader, where it differs from the loader's defaults."""
        return self._last.settings_of(name, loader)

    def forget_settings(self, name: str, loader: str) -> None:
        """Drop the saved settings of that model and loader. Writes to the disk."""
        self._last.forget(name, loader)

    def planned(self, name: str, loader: str | None, settings: Mapping[str, Any] | None) -> Plan:
        """How `load` would load that model; reads the disk. Raises NotFound, BadParameter, Unsupported."""
        return self._planner.plan(name, loader, settings)

    def pick_loader(self, model: ModelFile) -> Decision[LoaderSpec]:
        """The best loader for a model of the catalogue on this machine, and why. Raises Unsupported."""
        return self._planner.pick_loader(model)

    # ── load and unload ─────────────────────────────────────────────────────────────────────────────

    async def load(
        self, name: str, loader: str | None = None, settings: Mapping[str, Any] | None = None,
        fallback: bool | None = None,
    ) -> ModelStatus:  # fmt: skip
        """Load a model in place of the least recently used one, once the replies of that are done.

        fallback   whether a load that fails for want of memory is tried again with less; None = as the settings say

        `settings` None = as it was loaded last. Raises NotFound, BadParameter, Unsupported or LoadFailed; what could be
        checked beforehand leaves the old model where it is. Raises Cancelled when `unload` came in between.
        """
        plan = await asyncio.to_thread(self._planner.plan, name, loader, settings)
        self._crashes.forget(name)
        for left in range(MOST_TRIES, -1, -1):
            host = await self._enter(plan, anew=True)
            host.leave()  # nobody uses it yet: another load may take its place without waiting for this one
            try:
                await self._loaded(host)
                return host.status(self._waiting)
            except LoadFailed as error:
                plan = self._smaller(plan, error, fallback if left else False)
        raise AssertionError("the last try returns or raises")

    def _smaller(self, plan: Plan, error: LoadFailed, wanted: bool | None) -> Plan:
        """The next plan after a failed load. Raises the error when smaller settings are not wanted, or do not help."""
        taken = self._settings.get("load_fallback") == "take" if wanted is None else wanted
        smaller = self._planner.smaller(plan, error) if taken else None
        if smaller is None:
            raise error
        return smaller

    async def unload(self) -> None:
        """End every worker now, also one that is loading; running replies end with an error that says so."""
        self._unloads += 1
        hosts = list(self._hosts.values())
        self._hosts.clear()
        self._crashes = CrashCount()
        self._focus = None
        await asyncio.gather(*(host.stop() for host in hosts))
        self._tell(self.status)

    async def close(self) -> None:
        """End everything; the program ends."""
        await self.unload()
        await self._measuring.close()

    # ── leases ──────────────────────────────────────────────────────────────────────────────────────

    def lease(
        self, name: str | None, on_progress: OnProgress | None = None, writes: bool = False
    ) -> AbstractAsyncContextManager[Lease]:
        """The engine of that model for one request; loaded when it is not.

        None = the model in the foreground, else the one used last (said in a Notice). With `writes` it has to be one
        that writes text: any other is refused before it is loaded. Raises NotFound, Unsupported,
        LoadFailed, NotReady (nothing to load), EngineCrashed (it crashed too often), Cancelled.
        """
        return self._lend(name, on_progress or (lambda progress: None), writes)

    @asynccontextmanager
    async def _lend(self, name: str | None, on_progress: OnProgress, writes: bool) -> AsyncIterator[Lease]:
        host, notices = await self._host_for(name, on_progress, writes)
        left = MOST_TRIES
        try:
            while True:
                try:
                    engine = await self._loaded(host, on_progress)
                    break
                except LoadFailed as error:
                    plan = self._smaller(host.plan, error, None if left else False)
                    left -= 1
                    smaller = await self._enter(plan)
                    host.leave()
                    host, notices = smaller, (*notices, Notice("load_fallback", said(error)))
            self._focus = host if self._hosts.get(host.model.name) is host else self._focus
            yield Lease(engine, notices)
            if host.process.alive:
                self._crashes.forget(host.model.name)
                self._measuring.replied(host)
        finally:
            host.leave()

    async def _host_for(
        self, name: str | None, on_progress: OnProgress, writes: bool
    ) -> tuple[LoadedModel, tuple[Notice, ...]]:
        """A host with the caller entered, and the reasons."""
        unloads = self._unloads
        host = self._focus if name is None else self._hosts.get(name)
        if host is not None and writes and host.model.kind != "model":
            host = None  # without a name another one is meant; with one, the check below says what is wrong
        if host is not None and host.usable:
            host.enter()
            return host, ()
        why = ""
        if name is None:
            crashed = host.model.name if host is not None and host.crashed else None
            chosen = await asyncio.to_thread(self._planner.default, crashed)
            name, why = chosen.value, chosen.why
        plan = await asyncio.to_thread(self._planner.plan, name, None, None)
        if writes:
            check_writes_text(plan.model)
        old = self._hosts.get(plan.model.name)
        notices = [Notice("model_loaded", why)] if why else []
        if old is not None and old.crashed:
            await asyncio.sleep(self._crashes.pause(old.model.name))
            said = "" if old.process.error is None else f" ({old.process.error.message})"
            notices.append(Notice("engine_restarted", f"The engine had crashed{said} and was started again."))
        if unloads != self._unloads:
            raise _stopped()
        on_progress(Progress("queued", 0, 1))
        host = await self._enter(plan)
        return host, tuple(notices)

    def excuse_crash(self, name: str) -> None:
        """The crash of that model's worker was a request's doing: it does not count towards "not started again"."""
        if (host := self._hosts.get(name)) is not None:
            self._crashes.excuse(host)

    async def _loaded(self, host: LoadedModel, on_progress: OnProgress | None = None) -> Engine:
        unloads = self._unloads
        if on_progress is not None:
            host.listeners.append(on_progress)
        try:
            return await host.wait()
        except EnginehouseError:
            if unloads != self._unloads or host.draining:
                raise _stopped() from None
            raise
        finally:
            if on_progress is not None:
                host.listeners.remove(on_progress)

    # ── the gate ────────────────────────────────────────────────────────────────────────────────────

    async def _enter(self, plan: Plan, anew: bool = False) -> LoadedModel:
        """The plan's host with the caller entered, started if need be. `anew` = with exactly these settings."""
        unloads = self._unloads
        self._waiting += 1
        try:
            async with self._gate:
                host = self._hosts.get(plan.model.name)
                wanted = (plan.spec.name, plan.settings, plan.files)
                same = host is not None and (host.spec.name, host.settings, host.files) == wanted
                if host is None or not host.usable or (anew and not same):
                    await self._make_room(plan.model.name, impatient=anew)
                    if unloads != self._unloads:
                        raise _stopped()
                    host = self._launch(plan)
                host.enter()
                return host
        finally:
            self._waiting -= 1

    def _launch(self, plan: Plan) -> LoadedModel:
        host = LoadedModel(plan.model, plan.spec, plan.why, plan.settings, self._free_log(), self._paths.scratch,
                    self._limits, self._changed, plan.options, plan.files)  # fmt: skip
        host.plan, host.explain = plan, self._measuring.explain
        self._hosts[plan.model.name] = self._focus = host
        host.loading.add_done_callback(lambda task: self._load_ended(host, task))
        return host

    def _load_ended(self, host: LoadedModel, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._measuring.ready(host)
            defaults = host.spec.check_settings({})
            changed = {name: value for name, value in host.settings.items() if value != defaults[name]}
            loop = asyncio.get_running_loop()  # in a thread: it waits for the disk
            loop.run_in_executor(None, self._last.remember, host.model.name, host.spec.name, changed)
        elif self._hosts.get(host.model.name) is host:
            del self._hosts[host.model.name]

    async def _make_room(self, name: str, impatient: bool) -> None:
        """Take out the model of that name, and the least recently used ones beyond `max_loaded`."""
        if name in self._hosts:
            await self._take_out(self._hosts[name], impatient)
        most = max(1, int(self._settings.get("max_loaded") or 1))
        while len(self._hosts) >= most:
            host = min(self._hosts.values(), key=lambda host: (host.users > 0, host.last_used))
            await self._take_out(host, impatient)

    async def _take_out(self, host: LoadedModel, impatient: bool) -> None:
        """Wait for its users to be done, then end it. `impatient` does not wait for a load nobody uses."""
        host.draining = True
        try:
            if not impatient:
                await asyncio.wait([host.loading])
            await host.idle.wait()
        except asyncio.CancelledError:
            host.draining = False
            raise
        await asyncio.shield(host.stop())
        if self._hosts.get(host.model.name) is host:
            del self._hosts[host.model.name]

    def _given_up(self) -> int:
        """Bytes of main memory that a load gets from the models it takes the place of."""
        hosts = sorted(list(self._hosts.values()), key=lambda host: host.last_used)  # noqa: C414 - from a thread
        count = max(0, len(hosts) - max(1, int(self._settings.get("max_loaded") or 1)) + 1)
        return sum(memory.private_bytes(host.process.pid) for host in hosts[:count] if host.process.pid)

    def _free_log(self) -> WorkerLog:
        taken = {host.log.path for host in self._hosts.values()}
        number = 1
        while (path := self._paths.logs / ("engine.log" if number == 1 else f"engine-{number}.log")) in taken:
            number += 1
        return WorkerLog(path)

    def _changed(self, host: LoadedModel) -> None:
        if host.crashed:
            self._crashes.crashed(host, self._hosts.values())
        if host is self._focus or host in self._hosts.values():
            self._tell(host.status(self._waiting))

    def _tell(self, status: ModelStatus) -> None:
        for callback in tuple(self.on_change):
            callback(replace(status))


def _stopped() -> Cancelled:
    return Cancelled("Loading was stopped.", hint="Load the model again when you want it.")

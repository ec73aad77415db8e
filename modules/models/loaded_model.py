"""One model in one worker: its process, its engine, and who is using it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loaders.base import LoaderSpec, LoadRequest, NamedFile
from modules.drivers.connect import ConnectedEngine, connect
from modules.engine.process import WorkerProcess
from modules.engine.watchdog import Limits
from modules.engine.worker_log import WorkerLog
from modules.errors import EnginehouseError, LoadFailed
from modules.models import memory
from modules.models.model_file import ModelFile
from modules.models.status import ModelState, ModelStatus
from modules.types import ParamValue, Progress

_MEMORY_AGE = 1.0
logger = logging.getLogger(__name__)


class LoadedModel:
    """A model that is loading, loaded, or was.

    `users` counts those who use or wait for it; `idle` is set while there are none. While it is `draining`
    new users queue behind the one who wants its place. `explain` is asked to add to the error of a failed load what
    would work; `replied` turns true with the first request that ended.
    """

    def __init__(
        self, model: ModelFile, spec: LoaderSpec, why: str, settings: Mapping[str, ParamValue], log: WorkerLog,
        scratch: Path, limits: Limits | None, on_change: Callable[[LoadedModel], None], options: Mapping[str, str],
        files: Mapping[str, tuple[NamedFile, ...]],
    ) -> None:  # fmt: skip
        self.model = model
        self.spec = spec
        self.why = why
        self.settings = settings
        self.files = files
        self.log = log
        self.users = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.draining = False
        self.last_used = time.monotonic()
        self.listeners: list[Callable[[Progress], None]] = []
        self.error: EnginehouseError | None = None
        self.engine: ConnectedEngine | None = None
        self._on_change = on_change
        self.plan: Any = None
        self.explain: Callable[[LoadedModel, EnginehouseError], Awaitable[None]] | None = None
        self.replied = False
        self._rss = (0.0, 0)
        self._was_ready = False
        self._settled = False  # loaded, or failed with all there is to say about it
        path = model.name if model.builtin else str(model.path)
        request = LoadRequest(model.name, path, spec.name, settings, str(scratch), files, options)
        self.process = WorkerProcess(request, spec.load, log, limits, self._changed)
        self.loading = asyncio.create_task(self._load(), name=f"load {model.name}")

    async def _load(self) -> None:
        """Start the worker. The task's exception is the reason of a failure."""
        try:
            info = await self.process.start()
            # In a thread: an address with https has the system's certificates read, 50 ms for each server.
            self.engine = await asyncio.to_thread(connect, self.process, info, self.spec)
            self._was_ready = True
        except EnginehouseError as error:
            self.error = error
            await self.process.stop()
            if self.explain is not None:
                await self.explain(self, error)
            raise
        except Exception as error:  # a mistake of ours or a loader's: no worker may stay behind that nobody knows
            logger.exception("loading %s", self.model.name)
            self.error = LoadFailed(f"{self.model.name} could not be connected to: {type(error).__name__}: {error}")
            await self.process.stop()
            raise self.error from error
        finally:
            self._settled = True
            self._changed()

    async def wait(self) -> ConnectedEngine:
        """The engine, once loaded. Raises what loading raised."""
        await asyncio.shield(self.loading)
        if self.engine is None or not self.process.alive:
            raise self.process.end_error()
        return self.engine

    def enter(self) -> None:
        """One more user."""
        self.users += 1
        self.idle.clear()

    def leave(self) -> None:
        """One user fewer."""
        self.users -= 1
        self.last_used = time.monotonic()
        if self.users <= 0:
            self.idle.set()

    @property
    def usable(self) -> bool:
        """Loading or loaded, and not on its way out."""
        return not self.draining and (not self.loading.done() or (self.process.alive and self.engine is not None))

    @property
    def crashed(self) -> bool:
        """It was loaded, and its worker ended by itself."""
        return self._was_ready and self.process.state == "crashed"

    async def stop(self) -> None:
        """End the worker; those who wait for the load are told so."""
        await self.process.stop()
        await asyncio.gather(self.loading, return_exceptions=True)
        if self.engine is not None:
            await self.engine.close()

    def _changed(self) -> None:
        if self.process.state == "starting":
            step = Progress("loading", round(self.process.fraction * 100), 100)
            for listener in tuple(self.listeners):
                listener(step)
        self._on_change(self)

    def status(self, waiting: int = 0) -> ModelStatus:
        """A snapshot; cheap enough for every change. The endpoint with its key stays in here."""
        process = self.process
        slots = 1 if process.info is None else process.info.slots
        state = self._state()
        error = self.error or (process.error if process.state == "crashed" else None)
        return ModelStatus(
            state=state, model=self.model.name, loader=self.spec.name, why=self.why,
            progress=process.fraction if process.state == "starting" else None,
            stage=process.stage if process.state == "starting" else "",
            error=None if error is None or state == "starting" else error.as_dict(),
            info=replace(process.info, endpoint=None) if process.info and process.alive else None,
            memory_bytes=self._memory(),
            running=min(process.running, slots), waiting=waiting + max(0, process.running - slots),
            settings=self.settings,
        )  # fmt: skip

    def _state(self) -> ModelState:
        match self.process.state:
            case "ready" | "busy" | "stopping" as state:
                return state
            case "crashed" if not self._was_ready and not self._settled:
                return "starting"  # what would fit is still being worked out: said once, and whole
            case "crashed":
                return "crashed" if self._was_ready else "failed"
            case "stopped" if self.error is not None and self.process.info is not None:
                return "failed"  # the worker was ready, what came after it was not
            case "stopped" if self.loading.done() or self.error is not None:
                return "empty"
        return "starting"

    def _memory(self) -> int:
        read_at, size = self._rss
        if self.process.pid is None:
            return 0
        if time.monotonic() - read_at > _MEMORY_AGE:
            size = memory.resident_bytes(self.process.pid) or 0
            self._rss = (time.monotonic(), size)
        return size

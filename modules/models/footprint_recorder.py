"""What loads really took, measured beside the traffic; and what a load that failed could be tried with instead."""

from __future__ import annotations

import asyncio
import logging

from modules.errors import EnginehouseError
from modules.models.estimates import Estimating
from modules.models.loaded_model import LoadedModel

_log = logging.getLogger("enginehouse.memory")


class Measuring:
    """Belongs to the event loop; the work is done in threads. Nothing that goes wrong here is a reason to fail."""

    def __init__(self, estimating: Estimating) -> None:
        self._estimating = estimating
        self._tasks: set[asyncio.Task[None]] = set()

    def ready(self, host: LoadedModel) -> None:
        """The model is loaded: a first figure."""
        self._start(host)

    def replied(self, host: LoadedModel) -> None:
        """A request ended well; after the first one the engine has taken what it takes."""
        if not host.replied:
            host.replied = True
            self._start(host)

    async def close(self) -> None:
        """Let what is being measured end."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def explain(self, host: LoadedModel, error: EnginehouseError) -> None:
        """Add to the error of a failed load with which smaller settings it would fit, if any."""
        try:
            log = "\n".join(await asyncio.to_thread(host.log.tail, 100))
            found = await asyncio.to_thread(self._estimating.fallback, host.model, host.spec, host.settings, error, log)
        except Exception:  # a mistake in an estimate must not hide why the load failed
            _log.exception("looking for settings with which %s would fit", host.model.name)
            return
        which = {"model": host.model.name, "loader": host.spec.name}
        error.fallback = None if found is None else {**found.as_dict(), **which}

    def _start(self, host: LoadedModel) -> None:
        task = asyncio.create_task(self._measure(host), name=f"measure {host.model.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _measure(self, host: LoadedModel) -> None:
        pid = host.process.pid
        if pid is None:
            return
        try:
            ratio = await asyncio.to_thread(self._estimating.learn, host.model, host.spec, host.settings, pid)
        except Exception:
            _log.exception("comparing what %s takes with its estimate", host.model.name)
            return
        if ratio is not None:
            _log.info("%s takes %.2f times what was estimated", host.model.name, ratio)

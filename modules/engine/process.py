"""One worker process and its state, owned by one task.

    stopped → starting → ready ⇄ busy → stopping → stopped
                  └────────┴──────┴──→ crashed

Public methods are messages to that task or plain reads; nothing else writes the state. Starting times out by
lack of progress, not by a total. A stop closes stdin, then terminates, then kills the process group.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from loaders.base import LoadRequest
from modules.engine import crash, protocol
from modules.engine.child import Child
from modules.engine.oom_counter import OomKills
from modules.engine.watchdog import Limits, Watchdog
from modules.engine.worker_log import WorkerLog
from modules.errors import EngineCrashed, EngineError
from modules.types import EngineInfo

State = Literal["stopped", "starting", "ready", "busy", "stopping", "crashed"]

logger = logging.getLogger(__name__)

Handler = Callable[[protocol.Line], None]
_STOOD_STILL = 1.0  # seconds a look may be late; later, this process stood still itself and has not heard the engine


@dataclass(slots=True)
class _Message:
    """What the owner is told."""

    kind: Literal["start", "stop", "event", "exit", "count"]
    value: Any = None


class WorkerProcess:
    """Runs one model. Make it inside a running event loop; `start`, use, `stop`; it is not started twice."""

    def __init__(
        self,
        request: LoadRequest,
        function: str,
        log: WorkerLog,
        limits: Limits | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.request = request
        self.log = log
        self.limits = limits or Limits()
        self.state: State = "stopped"
        self.info: EngineInfo | None = None
        self.error: EngineError | None = None
        self.fraction = 0.0
        self.stage = ""
        self.last_sign = 0.0
        self._function = function
        self._on_change = on_change
        self._inbox: asyncio.Queue[_Message] = asyncio.Queue()
        self._owner: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self._handlers: dict[int, Handler] = {}
        self._cancelled_at: dict[int, float] = {}
        self._running = 0
        self._paused = 0
        self._next_key = 0
        self._ended = asyncio.Event()
        self._started: asyncio.Future[EngineInfo] | None = None
        self._watch = Watchdog(request.path)

    # ── messages from outside ───────────────────────────────────────────────────────────────────────

    async def start(self) -> EngineInfo:
        """Start the worker and load. Raises LoadFailed (or what the loader raised); then the worker is gone."""
        if self._owner is None:
            self._started = asyncio.get_running_loop().create_future()
            self._owner = asyncio.create_task(self._own(), name=f"worker {self.request.model}")
            self._inbox.put_nowait(_Message("start"))
        if self._started is None:
            raise EngineError("The worker was not started.")
        return await asyncio.shield(self._started)

    async def stop(self) -> None:
        """End the worker and whatever it started; returns when all of it is gone. Safe to call twice."""
        if self._owner is None:
            return
        self._inbox.put_nowait(_Message("stop"))
        await asyncio.shield(self._owner)

    async def ended(self, timeout: float) -> EngineError | None:
        """Wait for the worker's end: why it ended, or None when it is still there after `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout)
        return self.end_error() if self._ended.is_set() else None

    def end_error(self) -> EngineError:
        """What a request is told whose worker has ended."""
        return self.error or EngineCrashed("The model was unloaded.", hint="Load it again.", code="engine_stopped")

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    @property
    def alive(self) -> bool:
        return self.state in ("ready", "busy")

    @property
    def running(self) -> int:
        """Requests in the engine, those that wind down after a cancel included."""
        return self._running

    def open(self, handler: Handler) -> int:
        """A key for a request whose answers go to `handler`. Raises EngineError when the worker has ended."""
        if not self.alive:
            raise self.end_error()
        self._next_key += 1
        self._handlers[self._next_key] = handler
        return self._next_key

    def close_key(self, key: int) -> None:
        """Forget a request that has ended in the engine."""
        self._handlers.pop(key, None)
        self._cancelled_at.pop(key, None)

    def send(self, line: bytes) -> None:
        """Write one line to the worker; a worker that has just died is told of by its handler instead."""
        if self._child is not None:
            self._child.write(line)

    def cancel(self, key: int) -> None:
        """Have the engine end a request; its last line still goes to the handler."""
        if key in self._handlers and key not in self._cancelled_at:
            self._cancelled_at[key] = time.monotonic()
            self.send(protocol.cancel_line(key))

    def began(self) -> None:
        """One more request runs in the engine."""
        self._count(1)

    def done(self) -> None:
        """One request fewer runs in the engine."""
        self._count(-1)

    def paused(self) -> None:
        """One request waits for its reader, not for the engine."""
        self._paused += 1

    def resumed(self) -> None:
        """It waits for the engine again; if nobody else did, the engine's silence counts from now."""
        if self._paused >= self._running:
            self.sign()
        self._paused -= 1

    def _count(self, change: int) -> None:
        self._running += change
        self.sign()
        self._inbox.put_nowait(_Message("count"))

    def sign(self) -> None:
        """The engine showed a sign of life."""
        self.last_sign = time.monotonic()

    # ── the owner ───────────────────────────────────────────────────────────────────────────────────

    async def _own(self) -> None:
        try:
            look_at = time.monotonic() + self.limits.tick
            while not self._ended.is_set():
                try:
                    left = max(0.0, look_at - time.monotonic())
                    await self._act(await asyncio.wait_for(self._inbox.get(), left))
                except TimeoutError:
                    if time.monotonic() - look_at > _STOOD_STILL:
                        self.sign()
                        self._cancelled_at = dict.fromkeys(self._cancelled_at, self.last_sign)
                    await self._look()
                    look_at = time.monotonic() + self.limits.tick
        except Exception as error:  # a line it did not expect, a mistake of ours: nobody may wait for ever
            logger.exception("the worker of %s is ended", self.request.model)
            said = f"{type(error).__name__}: {error}"
            await self._end("crashed", EngineCrashed("The engine was ended after an unexpected error.", hint=said))
        finally:
            if not self._ended.is_set() and self._child is not None:  # the program ends without having asked
                self._child.kill()
                await self._child.put_down(0, 0)

    async def _act(self, message: _Message) -> None:
        match message.kind:
            case "start":
                await self._spawn()
            case "stop":
                await self._end("stopped", None)
            case "event":
                await self._loading(message.value)
            case "exit":
                await self._exited()
            case "count":
                if self.alive:
                    self._become("busy" if self._running > 0 else "ready")

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._tell()

    def _tell(self) -> None:
        """Call `on_change`; what goes wrong in there is no reason to end the engine."""
        try:
            self._on_change()
        except Exception:
            logger.exception("telling of a change of %s", self.request.model)

    async def _spawn(self) -> None:
        self._become("starting")
        self.sign()
        self._oom_kills = OomKills()
        try:
            with self.log.open() as log:
                self._child = await Child.start(log)
        except OSError as error:
            said = f"The engine's process could not be started: {error}"
            await self._end("crashed", crash.load_failed(None, "", said=said))
            return
        self._reader = asyncio.create_task(self._read(self._child))
        self.send(protocol.load_line(self.request, self._function))

    async def _read(self, child: Child) -> None:
        """Hands each line to its request or to the owner, until the worker has ended."""
        lines = protocol.Lines()
        async for data in child.pieces():
            self.sign()
            for raw in lines.feed(data):
                try:
                    self._deliver(protocol.decode(raw))
                except Exception as error:  # whatever it is, the reader goes on until the worker has ended
                    self._inbox.put_nowait(_Message("event", {"event": "bad", "said": f"{error}: {raw[:200]!r}"}))
        self._inbox.put_nowait(_Message("exit"))

    def _deliver(self, line: protocol.Line) -> None:
        key = line.get("id")
        if key is None:
            self._inbox.put_nowait(_Message("event", line))
        elif handler := self._handlers.get(key):
            handler(line)

    async def _loading(self, line: protocol.Line) -> None:
        match line.get("event"):
            case "progress":
                self.fraction, self.stage = max(self.fraction, float(line["fraction"])), str(line["stage"])
                self._tell()
            case "ready":
                self.info = protocol.read_info(line["info"])
                self.fraction = 1.0
                self._become("ready")
                self._settle()
            case "failed":
                error = line["error"]
                if error.pop("explained", False):
                    await self._end("crashed", crash.told_by_loader(error))
                else:
                    said = str(error.get("message", ""))
                    await self._end("crashed", crash.load_failed(None, self._log_text(), said=said))
            case "bad":
                await self._end("crashed", EngineCrashed(
                    "The engine sent something unreadable and was ended.", hint=line["said"]))  # fmt: skip

    async def _exited(self) -> None:
        code = None if self._child is None else self._child.exit_code
        explain = crash.load_failed if self.state == "starting" else crash.crashed
        await self._end("crashed", explain(code, self._log_text(), self._oom_kills.happened()))

    async def _look(self) -> None:
        """Once a tick: is it stuck, is its log too long?"""
        self.log.trim()
        if self._child is None or self.state not in ("starting", "busy", "ready"):
            return
        limits = self.limits
        if self.state != "ready":
            await asyncio.to_thread(self._watch.look, self._child, self.log)  # it may walk all processes there are
        now = time.monotonic()
        if self.state == "starting":
            if self._watch.moved:
                self.sign()
            if self._watch.fraction > self.fraction + 0.01:
                self.fraction = self._watch.fraction
                self._tell()
            if self._stuck(limits.start):
                said = f"Loading made no progress for {now - self.last_sign:.0f} seconds and was ended."
                await self._end("crashed", crash.load_failed(None, self._log_text(), said=said))
        elif any(now - at > limits.linger for at in self._cancelled_at.values()):
            await self._end("crashed", crash.hung(limits.linger))
        elif self.state == "busy" and self._running > self._paused and self._stuck(limits.stall):
            await self._end("crashed", crash.hung(now - self.last_sign))

    def _stuck(self, limit: float) -> bool:
        idle = time.monotonic() - self.last_sign
        return idle > limit and (not self._watch.computing or idle > limit * self.limits.patience)

    def _log_text(self) -> str:
        return self.log.tail_bytes().decode("utf-8", "replace")

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────

    async def _end(self, state: State, error: EngineError | None) -> None:
        """Make sure nothing of the worker is left, then tell everyone who waits for it."""
        self.error = error
        if state == "stopped" and self.state in ("ready", "busy", "starting"):
            self._become("stopping")
        if self._child is not None:
            # A load may hold Python's lock, and a worker at fault need not be asked: no waiting for those.
            close = self.limits.close if error is None and self.info is not None else 0.0
            await self._child.put_down(close, self.limits.terminate if error is None else 0.0)
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
        self._ended.set()
        self.state = state
        self._settle()
        told = {"kind": "failed", "value": {"error": self.end_error().as_dict()}, "error": self.end_error().as_dict()}
        for handler in list(self._handlers.values()):
            handler(told)
        self._handlers.clear()
        self._cancelled_at.clear()
        self._tell()

    def _settle(self) -> None:
        """Answer `start`, once."""
        if self._started is None or self._started.done():
            return
        if self.info is not None and self.state == "ready":
            self._started.set_result(self.info)
        else:
            self._started.set_exception(self.end_error())
            self._started.exception()  # a cancelled load has nobody left to look at it

"""The process an engine lives in: `python -m modules.engine.worker`, speaking modules/engine/protocol.py.

What is certain, whatever the engine does:
* The protocol's descriptors are put aside first and fd 1 points at fd 2, so a C library's `printf` lands in the
  log and never in the stream.
* The end of stdin ends the process at once, from a thread of its own, also while a C call hangs. On Linux the
  kernel ends it too when the server dies, even when an engine holds Python's lock.
* Cancel is read by that same thread and takes effect while the engine computes.
* An exception becomes a Failed chunk or an error answer; a crash is told by the end of the stream.

Not here: when to start, stop or restart (process.py), and what a crash means (crash.py).
"""

from __future__ import annotations

import ctypes
import importlib
import os
import queue
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders.base import EngineBackend, LoadFunction, TaskFunction
from modules.engine import protocol
from modules.errors import Cancelled, EngineError, EnginehouseError, LoadFailed, Unsupported
from modules.types import Chunk, Done, Failed, GenerationRequest, Progress

_PR_SET_PDEATHSIG = 1
_EXTENSION = "enginehouse_extension"


@dataclass(slots=True)
class Wire:
    """The way back to the server; whole lines only, from any thread."""

    fd: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, line: bytes) -> None:
        with self._lock:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self.fd, rest) :]


_TASKS = 4
"""Tasks (vectors of texts …) that are taken in at the same time; the backend lets them take turns."""


@dataclass(slots=True)
class Running:
    """One request: the flag its engine looks at, and its place in the queue for a thread."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[None] | None = None


class Worker:
    """Serves one loaded model; its methods are called by the reader thread unless they say otherwise."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._backend: EngineBackend | None = None
        self._slots: ThreadPoolExecutor | None = None
        self._calls = ThreadPoolExecutor(max_workers=2, thread_name_prefix="call")
        self._tasks = ThreadPoolExecutor(max_workers=_TASKS, thread_name_prefix="task")  # chats do not wait here
        self._running: dict[int, Running] = {}
        self._calling: dict[int, Running] = {}
        self._lock = threading.Lock()
        self.loads: queue.SimpleQueue[protocol.Line] = queue.SimpleQueue()

    def load(self, line: protocol.Line) -> bool:
        """Load the model, on the main thread. False when that failed; the server has been told why."""
        try:
            request, function = protocol.read_load(line)
            self._progress(0.0, "starting the engine")
            backend: EngineBackend = load_function(function)(request, self._progress)
        except BaseException as error:  # also SystemExit of a library: the server has to hear of it
            traceback.print_exc()
            self._wire.send(protocol.encode({"event": "failed", "error": _load_error(error)}))
            return False
        self._slots = ThreadPoolExecutor(max_workers=max(1, backend.info.slots), thread_name_prefix="slot")
        self._backend = backend
        self._wire.send(protocol.encode({"event": "ready", "info": backend.info}))
        return True

    def _progress(self, fraction: float, stage: str) -> None:
        self._wire.send(protocol.encode({"event": "progress", "fraction": fraction, "stage": stage}))

    def handle(self, line: protocol.Line) -> None:
        """Do what one line asks, without waiting for it."""
        match line.get("op"):
            case "load":
                self.loads.put(line)
            case "generate":
                self._start(line)
            case "cancel":
                self._cancel(int(line["id"]))
            case "call":
                self._begin_call(line)
            case other:
                print(f"unknown operation {other!r}", file=sys.stderr)

    def _start(self, line: protocol.Line) -> None:
        key = int(line["id"])
        running = Running()
        with self._lock:
            self._running[key] = running
            line_up = len(self._running)
        if self._backend is None or self._slots is None:
            self._end(key, Failed(EngineError("The model is not loaded yet.").as_dict()))
            return
        if (waiting := line_up - self._backend.info.slots) > 0:
            self._wire.send(protocol.chunk_line(key, Progress("queued", 0, waiting)))
        running.future = self._slots.submit(self._generate, key, line, running)

    def _cancel(self, key: int) -> None:
        with self._lock:
            running, calling = self._running.get(key), self._calling.get(key)
        asked = running or calling
        if asked is None:
            return
        asked.cancelled.set()
        if asked.future is None or not asked.future.cancel():
            return
        if calling is None:  # it had not begun: nobody else will end it
            self._end(key, Done("cancelled"))
        else:
            self._answer(key, error=_error(_cancelled()))

    def _generate(self, key: int, line: protocol.Line, running: Running) -> None:
        """One request from its first to its last chunk, on a slot's thread."""
        last: Chunk | None = None
        try:
            request = protocol.read_request(line)
            last = self._stream(key, request, running)
        except BaseException as error:
            traceback.print_exc()
            last = Failed(_error(error))
        self._end(key, last)

    def _stream(self, key: int, request: GenerationRequest, running: Running) -> Chunk:
        if self._backend is None:
            raise EngineError("The model is not loaded.")
        if running.cancelled.is_set():
            return Done("cancelled")
        for chunk in self._backend.generate(request, running.cancelled.is_set):
            if isinstance(chunk, (Done, Failed)):
                return chunk
            self._wire.send(protocol.chunk_line(key, chunk))
        if running.cancelled.is_set():
            return Done("cancelled")
        raise EngineError("The engine ended a reply without saying how.")

    def _end(self, key: int, chunk: Chunk) -> None:
        with self._lock:
            self._running.pop(key, None)
        self._wire.send(protocol.chunk_line(key, chunk))

    def _begin_call(self, line: protocol.Line) -> None:
        key, calling = int(line["id"]), Running()
        with self._lock:
            self._calling[key] = calling
        threads = self._tasks if line.get("method") == "task" else self._calls
        calling.future = threads.submit(self._call, key, line, calling)

    def _call(self, key: int, line: protocol.Line, calling: Running) -> None:
        try:
            if self._backend is None:
                raise EngineError("The model is not loaded yet.")
            result = _called(self._backend, str(line["method"]), line["arguments"], calling.cancelled.is_set)
            if calling.cancelled.is_set():
                raise _cancelled()
            self._answer(key, result=result)
        except BaseException as error:
            if not isinstance(error, Cancelled):
                traceback.print_exc()
            self._answer(key, error=_error(error))

    def _answer(self, key: int, **said: Any) -> None:
        with self._lock:
            self._calling.pop(key, None)
        self._wire.send(protocol.encode({"id": key, **said}))


def _cancelled() -> Cancelled:
    return Cancelled("The request was cancelled.")


def _called(
    backend: EngineBackend, method: str, arguments: Mapping[str, Any], cancelled: Callable[[], bool]
) -> Any:  # fmt: skip
    match method:
        case "render":
            messages = protocol.read_messages(arguments["messages"])
            return backend.render(messages, arguments["variables"], bool(arguments["continue_last"]))
        case "tokenize":
            return backend.tokenize(arguments["text"], bool(arguments["special"]))
        case "detokenize":
            return backend.detokenize(arguments["tokens"])
        case "task":
            functions: Mapping[str, TaskFunction] = getattr(backend, "tasks", {})
            if (run := functions.get(str(arguments["task"]))) is not None:
                return run(arguments["request"], cancelled)
            raise Unsupported("This engine, as it is loaded, has no such task.", param="model")
    raise EngineError(f"The engine has no method {method!r}.")


def load_function(where: str) -> LoadFunction:
    """The function at "package.module:name", or at "folder/module.py:name" for a loader of an extension.

    The extension's folder becomes a package, so that its files can import each other with a dot.
    """
    place, _, name = where.rpartition(":")
    if place.endswith(".py"):
        file = Path(place)
        package = types.ModuleType(_EXTENSION)
        package.__path__ = [str(file.parent)]
        sys.modules[_EXTENSION] = package
        place = f"{_EXTENSION}.{file.stem}"
    function: LoadFunction = getattr(importlib.import_module(place), name)
    return function


def _error(error: BaseException) -> dict[str, Any]:
    if isinstance(error, EnginehouseError):
        return error.as_dict()
    said = f"{type(error).__name__}: {error}"
    return EngineError(f"The engine failed: {said[:500]}", hint="Its log has the details.").as_dict()


def _load_error(error: BaseException) -> dict[str, Any]:
    """`reason` marks a failure the loader explained; without it the server looks into the log."""
    if isinstance(error, EnginehouseError):
        return {**error.as_dict(), "explained": True}
    said = f"{type(error).__name__}: {error}"
    return {**LoadFailed(f"The model did not load: {said[:500]}").as_dict(), "explained": False}


def _read(fd: int, worker: Worker) -> None:
    """The reader thread: acts on each line; the end of the stream is the end of the process."""
    lines = protocol.Lines()
    while data := os.read(fd, 1 << 16):
        for line in lines.feed(data):
            try:
                worker.handle(protocol.decode(line))
            except Exception:  # one bad line must not end the reader
                traceback.print_exc()
    os._exit(0)


def _own_descriptors() -> tuple[int, int]:
    """(from the server, to the server), out of every library's reach."""
    to_server = os.dup(1)
    os.dup2(2, 1)
    from_server = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return from_server, to_server


def _die_with(parent: int) -> None:
    """Linux: have the kernel end this process when the thread that started it ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(0)


def main() -> None:
    """Serve until stdin ends or the load failed."""
    from_server, to_server = _own_descriptors()
    if len(sys.argv) > 1:
        _die_with(int(sys.argv[1]))
    worker = Worker(Wire(to_server))
    threading.Thread(target=_read, args=(from_server, worker), name="reader", daemon=True).start()
    if not worker.load(worker.loads.get()):
        sys.stderr.flush()
        os._exit(1)
    threading.Event().wait()  # the reader ends the process


if __name__ == "__main__":
    main()

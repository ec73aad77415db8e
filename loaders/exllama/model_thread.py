"""The one thread that touches the GPU. The libraries' generators are not thread-safe, and streams belong to threads."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Event = dict[str, Any]
"""What a generator says of a job: "stage" is started, prefill, streaming or error; "eos" ends it."""


class Generator(Protocol):
    """What both libraries' generators are to this thread."""

    def enqueue(self, job: Any) -> Any: ...
    def cancel(self, job: Any) -> None: ...
    def iterate(self) -> list[Event]: ...
    def clear_queue(self) -> None: ...
    def num_remaining_jobs(self) -> int: ...


class Outlet:
    """Where the events of one job come out, on any thread."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        self._events.put(event)

    def get(self, seconds: float) -> Event | None:
        """The next event, None when there is none within that time."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None


class ModelThread:
    """Runs calls and jobs, in the order they come, on one thread of its own."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._generator: Generator | None = None
        self._outlets: dict[int, Outlet] = {}
        threading.Thread(target=self._run, name="model", daemon=True).start()

    def call(self, function: Callable[[], T]) -> T:
        """Do something on the thread; its result, or its exception."""
        done: Future[T] = Future()

        def order() -> None:
            try:
                done.set_result(function())
            except BaseException as error:  # also SystemExit of a library: whoever waits has to hear of it
                done.set_exception(error)

        self._orders.put(order)
        return done.result()

    def serve(self, generator: Generator) -> None:
        """Turn this generator's crank from now on whenever there are jobs."""
        self._generator = generator

    def start(self, job: Any) -> Outlet:
        """Hand a job to the generator. A refusal comes out of the outlet as an event of stage "error"."""
        outlet = Outlet(job)

        def order() -> None:
            if self._generator is None:
                outlet.put(_failed(RuntimeError("the engine has failed; load the model again")))
                return
            try:
                self._generator.enqueue(job)
            except Exception as error:  # a job that cannot fit; the others go on
                outlet.put(_failed(error))
            else:
                self._outlets[id(job)] = outlet

        self._orders.put(order)
        return outlet

    def cancel(self, outlet: Outlet) -> None:
        """End a job between two tokens. Nothing happens when it has ended already."""

        def order() -> None:
            if self._outlets.pop(id(outlet.job), None) is None or self._generator is None:
                return
            try:
                self._generator.cancel(outlet.job)
            except Exception:  # the thread has to live on; nobody waits for this job any more
                traceback.print_exc()

        self._orders.put(order)

    def _run(self) -> None:
        while True:
            busy = self._generator is not None and self._generator.num_remaining_jobs() > 0
            try:
                while True:
                    self._orders.get(block=not busy)()
                    busy = True  # one waits at most; then the crank has its turn
            except queue.Empty:
                self._turn()

    def _turn(self) -> None:
        if self._generator is None or not self._generator.num_remaining_jobs():
            return
        try:
            events = self._generator.iterate()
        except Exception as error:  # the library does not say whose fault it was: all of them have to know
            for outlet in self._outlets.values():
                outlet.put(_failed(error))
            self._outlets.clear()
            self._clear()
            return
        for event in events:
            outlet_of = self._outlets.get(id(event["job"]))
            if outlet_of is not None:
                outlet_of.put(event)
                if event["eos"]:
                    del self._outlets[id(event["job"])]

    def _clear(self) -> None:
        """Forget every job. A card that failed may refuse even that: then nothing more is asked of it."""
        try:
            if self._generator is not None:
                self._generator.clear_queue()
        except Exception:
            traceback.print_exc()
            self._generator = None


def _failed(error: Exception) -> Event:
    return {"stage": "error", "eos": True, "error": error}

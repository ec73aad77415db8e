"""One request's place in the engine: is it waiting for the engine, or for the one who reads the reply?"""

from __future__ import annotations

from modules.engine.process import WorkerProcess


class InFlight:
    """Counts a request in its worker, from here to `end`. Without a worker of ours it counts nothing.

    Whoever streams a reply calls `pause` before handing a piece over and `resume` when the next one is wanted:
    an engine whose replies all wait for readers that do not read is idle, not hung. Both are called for every
    token, so they only add to a number.
    """

    __slots__ = ("_paused", "_process")

    def __init__(self, process: WorkerProcess | None) -> None:
        self._process = process
        self._paused = False
        if process is not None:
            process.began()

    def pause(self) -> None:
        """The reader has a piece; until it comes back the engine owes this request nothing."""
        if self._process is not None and not self._paused:
            self._paused = True
            self._process.paused()

    def resume(self) -> None:
        """The reader wants more."""
        if self._process is not None and self._paused:
            self._paused = False
            self._process.resumed()

    def end(self) -> None:
        """The engine is done with it. Safe to call twice; the turn counts nothing afterwards."""
        if self._process is not None:
            self.resume()
            self._process.done()
            self._process = None

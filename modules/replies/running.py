"""Replies while they are generated. A reply belongs to the server, not to the page that asked for it.

Each reply has one task that owns it, a log that pages follow from any index, and a saver that hands what there is to
the reply's sink about once a second. Whatever happens (Stop, a failed engine, a full disk, the server ending), the
reply is finished in its sink with the text it got to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable

from modules.errors import Conflict, EnginehouseError, StorageError
from modules.events import Events
from modules.generation.stop_signal import StopSignal
from modules.replies.reply import Reply
from modules.replies.sink import ReplySink
from modules.types import Chunk

PARTIAL_SECONDS = 1.0
RETRY_SECONDS = 5.0
KEEP_SECONDS = 300.0  # how long a finished reply's log stays for pages that come back at an index
KEEP_AT_MOST = 128
STOP_SECONDS = 10.0
Source = Callable[[StopSignal], AsyncGenerator[Chunk, None]]
"""Begins a reply's stream, which ends with one Done or Failed; the signal asks for Done("cancelled")."""

_MAY_PASS = (StorageError, Conflict)
"""What another try may get past: the disk, and another program that wrote to the chat's file."""
_log = logging.getLogger("enginehouse.replies")


class Replies:
    """Starts, stops and finds replies. Lives in the event loop; sinks are called in threads."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._live: dict[str, Reply] = {}  # by id: running, or finished a short while ago
        self._owners: set[asyncio.Task[None]] = set()
        self._retries: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    @property
    def running(self) -> int:
        """How many replies are being written."""
        return len(self.written)

    @property
    def written(self) -> tuple[tuple[str, str], ...]:
        """(group, id) of every reply being written, oldest first. Call in the event loop."""
        return tuple((reply.sink.group, reply.id) for reply in self._live.values() if not reply.ended)

    async def start(self, sink: ReplySink, source: Source) -> Reply:
        """Begin a reply in `sink` and write what `source` yields; returns once it has begun there.

        Text that the sink has already comes first in its log. Raises what the sink's `begin` raises; nothing that can
        fail stands between that and the start, or the reply would run for ever.
        """
        reply = Reply(sink, await asyncio.to_thread(sink.begin))
        self._live[reply.id] = reply
        self._tell(reply)
        owner = asyncio.create_task(self._own(reply, source), name=f"reply {reply.id}")
        self._owners.add(owner)
        owner.add_done_callback(self._owners.discard)
        return reply

    async def stop(self, name: str) -> bool:
        """End exactly this reply and keep its text. False when it is not running."""
        reply = self._live.get(name)
        if reply is None or reply.ended:
            return False
        reply.stop_signal.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reply.finished.wait(), STOP_SECONDS)
        return True

    async def stop_group(self, group: str) -> None:
        """End every reply of a group (a chat that is being deleted)."""
        await asyncio.gather(*[self.stop(name) for name, reply in self._live.items() if reply.sink.group == group])

    def find(self, name: str) -> Reply | None:
        """The reply in memory: running, finished a short while ago, or not yet saved."""
        return self._live.get(name)

    async def close(self) -> None:
        """End every reply and save it; the followers' streams end."""
        self._closing = True
        for reply in list(self._live.values()):
            reply.stop_signal.stop()
        if self._owners:
            await asyncio.wait(self._owners, timeout=STOP_SECONDS)
        for retry in tuple(self._retries.values()):
            retry.cancel()  # a sink whose end is not saved has to try once more when it is closed

    # ── the life of one reply ───────────────────────────────────────────────────────────────────────

    async def _own(self, reply: Reply, source: Source) -> None:
        reply.writer = asyncio.create_task(_write(reply, source))
        if self._closing:
            reply.stop_signal.stop()
        saver = asyncio.create_task(self._save_partials(reply))
        try:
            await asyncio.wait({reply.writer})
            reply.settle()
        finally:
            reply.ending.set()
            await asyncio.wait({saver})
            await self._finish(reply)

    async def _save_partials(self, reply: Reply) -> None:
        saved = 0
        while not reply.ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reply.ending.wait(), PARTIAL_SECONDS)
            if reply.ending.is_set() or reply.size == saved:
                continue
            saved = reply.size
            try:
                await asyncio.to_thread(reply.sink.partial, reply.text, reply.reasoning)
            except EnginehouseError as error:
                self._storage_trouble(reply, error)

    async def _finish(self, reply: Reply) -> None:
        again = False
        outcome = reply.outcome()  # taken here, for the log belongs to the event loop
        try:
            reply.rev = await asyncio.to_thread(reply.sink.finish, outcome)
            reply.saved = True
            if reply.trouble_told:
                self._saved_now()
        except _MAY_PASS as error:
            again = True
            self._storage_trouble(reply, error)
        except Exception as error:  # whatever it is, the reply has to end for those who wait for it
            self._lost(reply, error)
        reply.end()
        self._tell(reply)
        if again:
            self._retries[reply.id] = asyncio.create_task(self._retry(reply), name=f"save {reply.id}")
        else:
            self._forget_later(reply)

    async def _retry(self, reply: Reply) -> None:
        """Until the disk takes it or the server ends: the sink has it in memory, and pages go on seeing it."""
        outcome = reply.outcome()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                reply.rev = await asyncio.to_thread(reply.sink.finish, outcome)
                reply.saved = True
                self._saved_now()
                break
            except _MAY_PASS as error:
                _log.warning("reply %s is still not saved: %s", reply.id, error.message)
            except Exception as error:
                self._lost(reply, error)
                break
        self._tell(reply)
        del self._retries[reply.id]
        self._forget_later(reply)

    def _lost(self, reply: Reply, error: Exception) -> None:
        """No further try can save it: say so; its text can still be read and copied for KEEP_SECONDS."""
        _log.error("the end of reply %s could not be saved", reply.id, exc_info=error)
        why = error.message if isinstance(error, EnginehouseError) else "The log has the details."
        self._notice("error", "A reply could not be saved.", f"{why} Copy its text if you need it.")

    # ── telling ─────────────────────────────────────────────────────────────────────────────────────

    def _storage_trouble(self, reply: Reply, error: EnginehouseError) -> None:
        if reply.trouble_told:
            return
        reply.trouble_told = True
        self._notice("error", f"{error.message} The reply goes on and is kept in memory.", error.hint)

    def _saved_now(self) -> None:
        self._notice("info", "The reply that could not be saved is saved now.", "")

    def _notice(self, level: str, message: str, hint: str) -> None:
        self._events.publish({"type": "notice", "level": level, "message": message, "hint": hint})

    def _tell(self, reply: Reply) -> None:
        reply.sink.changed(reply.state if reply.ended else "running", reply.rev)

    def _forget_later(self, reply: Reply) -> None:
        asyncio.get_running_loop().call_later(KEEP_SECONDS, self._forget, reply)
        done = [name for name, one in self._live.items() if one.ended and name not in self._retries]
        for name in done[: max(0, len(done) - KEEP_AT_MOST)]:
            del self._live[name]

    def _forget(self, reply: Reply) -> None:
        if self._live.get(reply.id) is reply:
            del self._live[reply.id]


async def _write(reply: Reply, source: Source) -> None:
    """Drain the stream into the log. Stop interrupts it where it waits; the stream then ends as cancelled."""
    stop = reply.stop_signal
    stop.watch()
    if stop.requested:
        return
    try:
        async with contextlib.aclosing(source(stop)) as chunks:
            async for chunk in chunks:
                reply.take(chunk)
    except asyncio.CancelledError:
        if not stop.caught():  # else it was interrupted in what cannot say so itself
            raise

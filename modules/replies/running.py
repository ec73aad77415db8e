"""Chat replies while they are written. A reply belongs to the server, not to the page that asked for it.

Each reply has one task that owns it, a log that pages follow from any index, and a saver that writes what
there is about once a second. Whatever happens (Stop, a failed engine, a full disk, the server ending), the
reply is finished in the store with the text it got to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

from modules.chats.store import ChatStore
from modules.chats.values import Chat, MessageNode
from modules.errors import Conflict, EnginehouseError, NotFound, StorageError
from modules.events import Events
from modules.generation.pipeline import Generation
from modules.replies.reply import Reply, replayed
from modules.types import Chunk, Failed, GenerationRequest

PARTIAL_SECONDS = 1.0
RETRY_SECONDS = 5.0
KEEP_SECONDS = 300.0  # how long a finished reply's log stays for pages that come back at an index
KEEP_AT_MOST = 128
STOP_SECONDS = 10.0
Before = AsyncGenerator[Chunk, None]

_MAY_PASS = (StorageError, Conflict)
"""What another try may get past: the disk, and another program that wrote to the chat's file."""
_log = logging.getLogger("enginehouse.replies")


class Replies:
    """Starts, stops and follows replies. Lives in the event loop; the store is called in threads."""

    def __init__(self, store: ChatStore, generation: Generation, events: Events) -> None:
        self._store = store
        self._generation = generation
        self._events = events
        self._live: dict[str, Reply] = {}  # by message id: running, or finished a short while ago
        self._owners: set[asyncio.Task[None]] = set()
        self._retries: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    @property
    def running(self) -> int:
        """How many replies are being written."""
        return len(self.written)

    @property
    def written(self) -> tuple[tuple[str, str], ...]:
        """(chat, message) of every reply being written, oldest first. Call in the event loop."""
        return tuple((reply.chat, reply.message) for reply in self._live.values() if not reply.ended)

    def start(self, chat: str, node: MessageNode, request: GenerationRequest, before: Before | None = None) -> None:
        """Write the reply `node` of `chat`; returns at once. Text the node already has comes first in its log.

        before   what is done first, as chunks of the reply; a Failed among them ends it
        """
        reply = Reply(chat, node)
        self._live[node.id] = reply
        self._tell(reply)
        owner = asyncio.create_task(self._own(reply, request, before), name=f"reply {node.id}")
        self._owners.add(owner)
        owner.add_done_callback(self._owners.discard)

    async def stop_of(self, chat: str, message: str) -> bool:
        """As `stop`; raises NotFound when the reply is not one of that chat."""
        reply = self._live.get(message)
        if reply is None or reply.chat != chat:
            await self._stored(chat, message)
        return await self.stop(message)

    async def stop(self, message: str) -> bool:
        """End exactly this reply and keep its text. False when it is not running."""
        reply = self._live.get(message)
        if reply is None or reply.ended:
            return False
        reply.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reply.finished.wait(), STOP_SECONDS)
        return True

    async def stop_chat(self, chat: str) -> None:
        """End every reply of a chat (it is being deleted)."""
        await asyncio.gather(*[self.stop(name) for name, reply in self._live.items() if reply.chat == chat])

    def find(self, message: str) -> Reply | None:
        """The reply in memory: running, finished a short while ago, or not yet saved."""
        return self._live.get(message)

    def with_live_text(self, chat: dict[str, Any]) -> dict[str, Any]:
        """A chat's JSON with what memory knows better than the disk: newest text and state of unsaved replies.

        Call in the event loop: the texts are taken from logs that grow there. A reply that had to load its
        model did not know the name at its start; its ledger does.
        """
        for node in chat["messages"]:
            reply = self._live.get(node["id"])
            if reply is not None and (not reply.saved or node["state"] == "running"):
                node |= {"text": reply.text, "reasoning": reply.reasoning, "state": reply.state}
            node["model"] = node["model"] or (node["ledger"] or {}).get("model")
        return chat

    async def follow(self, chat: str, message: str, start: int = 0) -> AsyncGenerator[dict[str, Any], None]:
        """Events of a reply from index `start`. One that is over is told from the store. Raises NotFound."""
        reply = self._live.get(message)
        if reply is not None and reply.chat == chat:
            return reply.log.follow(start)
        stored, node = await self._stored(chat, message)
        return replayed(node, stored.rev, start)

    async def _stored(self, chat: str, message: str) -> tuple[Chat, MessageNode]:
        stored = await asyncio.to_thread(self._store.get, chat)
        node = stored.messages.get(message)
        if node is None or node.role != "assistant":
            raise NotFound("There is no such reply in this chat.", hint="Reload the chat.", code="reply_not_found")
        return stored, node

    async def close(self) -> None:
        """End every reply and save it; the followers' streams end."""
        self._closing = True
        for reply in list(self._live.values()):
            reply.stop()
        if self._owners:
            await asyncio.wait(self._owners, timeout=STOP_SECONDS)
        for retry in tuple(self._retries.values()):
            retry.cancel()  # the store tries once more when it is closed

    # ── the life of one reply ───────────────────────────────────────────────────────────────────────

    async def _own(self, reply: Reply, request: GenerationRequest, before: Before | None) -> None:
        reply.writer = asyncio.create_task(self._write(reply, request, before))
        if self._closing or reply.stop_asked:
            reply.stop()
        saver = asyncio.create_task(self._save_partials(reply))
        try:
            await asyncio.wait({reply.writer})
            reply.settle()
        finally:
            reply.ending.set()
            await asyncio.wait({saver})
            await self._finish(reply)

    async def _write(self, reply: Reply, request: GenerationRequest, before: Before | None) -> None:
        """Drain the pipeline into the log. Cancelling this task is what Stop does."""
        if before is not None:
            async with contextlib.aclosing(before) as steps:
                async for chunk in steps:
                    reply.take(chunk)
                    if isinstance(chunk, Failed):
                        return
        async with contextlib.aclosing(self._generation.stream(request)) as chunks:
            async for chunk in chunks:
                reply.take(chunk)

    async def _save_partials(self, reply: Reply) -> None:
        saved = 0
        while not reply.ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reply.ending.wait(), PARTIAL_SECONDS)
            if reply.ending.is_set() or reply.size == saved:
                continue
            saved = reply.size
            try:
                await asyncio.to_thread(self._store.partial, reply.chat, reply.message, reply.text, reply.reasoning)
            except EnginehouseError as error:
                self._storage_trouble(reply, error)

    async def _finish(self, reply: Reply) -> None:
        again = False
        outcome = reply.outcome()  # taken here, for the log belongs to the event loop
        try:
            node = await asyncio.to_thread(lambda: self._store.finish(reply.chat, reply.message, **outcome))
            reply.rev, reply.saved = node.rev, True
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
            self._retries[reply.message] = asyncio.create_task(self._retry(reply), name=f"save {reply.message}")
        else:
            self._forget_later(reply)

    async def _retry(self, reply: Reply) -> None:
        """Until the disk takes it or the server ends: the store has it in memory, and pages go on seeing it."""
        outcome = reply.outcome()

        def save() -> int:
            # Not only what waits: where even looking at the chat failed, the store was not told the end yet.
            rev = self._store.finish(reply.chat, reply.message, **outcome).rev
            self._store.save_waiting(reply.chat)
            return rev

        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                reply.rev = await asyncio.to_thread(save)
                reply.saved = True
                self._saved_now()
                break
            except _MAY_PASS as error:
                _log.warning("reply %s is still not saved: %s", reply.message, error.message)
            except Exception as error:
                self._lost(reply, error)
                break
        self._tell(reply)
        del self._retries[reply.message]
        self._forget_later(reply)

    def _lost(self, reply: Reply, error: Exception) -> None:
        """No further try can save it: say so; its text can still be read and copied for KEEP_SECONDS."""
        _log.error("the end of reply %s could not be saved", reply.message, exc_info=error)
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
        state = reply.state if reply.ended else "running"
        self._events.publish({"type": "reply", "chat": reply.chat, "message": reply.message, "state": state})
        self._events.publish({"type": "chat", "id": reply.chat, "rev": reply.rev, "kind": "changed"})

    def _forget_later(self, reply: Reply) -> None:
        asyncio.get_running_loop().call_later(KEEP_SECONDS, self._forget, reply)
        done = [name for name, one in self._live.items() if one.ended and name not in self._retries]
        for name in done[: max(0, len(done) - KEEP_AT_MOST)]:
            del self._live[name]

    def _forget(self, reply: Reply) -> None:
        if self._live.get(reply.message) is reply:
            del self._live[reply.message]

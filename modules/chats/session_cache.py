"""Which chats are open: one session per chat, a bounded number of them, and where each lies."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modules.chats.index import Stamp
from modules.chats.records import is_chat_id
from modules.chats.session import ChatSession
from modules.chats.values import Chat
from modules.disk.durable import storage_error
from modules.errors import EnginehouseError, NotFound
from modules.settings.paths import inside

_log = logging.getLogger(__name__)


class ChatTable:
    """Thread-safe. `noticed` hears of a chat that another program changed, or None: a file came or went.

    A session that a thread holds, or that knows more than the disk, always stays; of the others the
    `keep_open` used last stay.
    """

    def __init__(self, folder: Path, keep_open: int, noticed: Callable[[str | None], None]) -> None:
        self.folder = folder
        self.damage: dict[str, list[str]] = {}
        self._keep_open = keep_open
        self._noticed = noticed
        self._lock = threading.Lock()
        self._open: OrderedDict[str, ChatSession] = OrderedDict()

    def path(self, chat: str) -> Path:
        """Where the chat lies. Raises NotFound for what cannot be a chat's id."""
        if not is_chat_id(chat):
            raise NotFound("This chat does not exist.")
        return inside(self.folder, f"{chat}.jsonl")

    def add(self, session: ChatSession) -> None:
        """Keep a new chat's session."""
        with self._lock:
            self._open[session.id] = session
            self._evict()

    def opened(self, chat: str) -> ChatSession | None:
        """The session if there is one now."""
        with self._lock:
            return self._open.get(chat)

    @contextmanager
    def using(self, chat: str, rev: int | None = None, *, trashed_too: bool = False) -> Iterator[ChatSession]:
        """The chat's session, locked, up to date with its file, and at `rev`.

        Raises NotFound, StorageError, or Conflict when the chat is at another revision.
        """
        session = self._entered(chat)
        try:
            with session.lock:
                if session.trashed and not trashed_too:
                    raise NotFound("This chat was deleted.", hint="Restore it from the trash first.")
                if session.refresh():
                    self._noticed(chat)
                    self._report(session)
                session.expect(rev)
                yield session
        except NotFound:
            if session.journal.missing():
                self._drop(session)
            raise
        finally:
            with self._lock:
                session.users -= 1
                self._evict()

    def save_waiting(self) -> None:
        """Try once more to save what the disk refused; what it refuses again is lost and logged."""
        for session in list(self._open.values()):
            with session.lock:
                try:
                    session.save_waiting()
                except EnginehouseError as error:
                    _log.error("the end of a reply in chat %s is lost: %s", session.id, error.message)

    # ── what the index asks ─────────────────────────────────────────────────────────────────────────

    def stamps(self) -> dict[str, Stamp]:
        """Every chat file with its time and size. Raises StorageError."""
        found: dict[str, Stamp] = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    name, ending = os.path.splitext(entry.name)
                    if ending == ".jsonl" and is_chat_id(name) and entry.is_file():
                        stat = entry.stat()
                        found[name] = (stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            raise storage_error(self.folder, error, "read") from error
        return found

    def stamp(self, chat: str) -> Stamp | None:
        """One of them; None when it is gone."""
        try:
            stat = self.path(chat).stat()
        except (OSError, NotFound):
            return None
        return stat.st_mtime_ns, stat.st_size

    def peek(self, chat: str) -> Chat | None:
        """The chat without keeping it open; None when it is gone or cannot be read."""
        session = self.opened(chat)
        try:
            if session is None:
                session = ChatSession.open(chat, self.path(chat))
                self._report(session)
            with session.lock:
                return None if session.trashed else session.snapshot()
        except EnginehouseError as error:
            self.damage[chat] = [f"{error.message} {error.hint}".strip()]
            return None

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────

    def _entered(self, chat: str) -> ChatSession:
        with self._lock:
            session = self._open.get(chat)
            if session is not None:
                session.users += 1
                self._open.move_to_end(chat)
                return session
        read = ChatSession.open(chat, self.path(chat))
        with self._lock:
            session = self._open.setdefault(chat, read)
            session.users += 1
        if session is read:
            self._report(session)
        return session

    def _drop(self, session: ChatSession) -> None:
        """Forget the session of a file that is gone, unless memory knows more: the file may come back."""
        self._noticed(None)
        if session.trashed:
            session.abandon()
        with self._lock:
            if not session.busy and self._open.get(session.id) is session:
                del self._open[session.id]

    def _evict(self) -> None:
        for chat, session in list(self._open.items()):
            idle = session.users == 0 and not session.busy
            if idle and (session.trashed or len(self._open) > self._keep_open):
                del self._open[chat]

    def _report(self, session: ChatSession) -> None:
        if session.problems:
            self.damage[session.id] = session.problems
        else:
            self.damage.pop(session.id, None)

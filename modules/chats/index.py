"""The list of chats and the search in them: an SQLite file that may be deleted at any time.

It holds nothing that the journals do not hold. Each chat's row remembers size and time of the journal it
was made from; where they differ, or the file is gone or damaged, it is made again. Changes are only noted
(`touch`) when they happen and worked in when somebody looks, so saving a message never waits for SQLite.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from modules.chats.search import select, snippet
from modules.chats.values import Chat, ChatInfo

_log = logging.getLogger(__name__)
Stamp = tuple[int, int]
_SCHEMA = 1
_TABLES = """
CREATE TABLE chats (id TEXT PRIMARY KEY, title TEXT, created TEXT, updated TEXT, snippet TEXT, messages INT,
                    mtime INT, size INT) WITHOUT ROWID;
CREATE INDEX by_time ON chats (updated DESC, id DESC);
CREATE TABLE places (place INTEGER PRIMARY KEY, chat TEXT, message TEXT, UNIQUE (chat, message));
"""
_TEXTS = "CREATE VIRTUAL TABLE texts USING fts5 (text, tokenize = 'trigram')"
_PLAIN_TEXTS = "CREATE TABLE texts (rowid INTEGER PRIMARY KEY, text TEXT)"  # for an SQLite built without FTS5


class Source(Protocol):
    """Where the truth is."""

    def stamps(self) -> Mapping[str, Stamp]:
        """Every chat there is, with its file's time (ns) and size."""
        ...

    def stamp(self, chat: str) -> Stamp | None:
        """One of them; None when it is gone."""
        ...

    def peek(self, chat: str) -> Chat | None:
        """The chat, or None when it is gone or cannot be read."""
        ...


class ChatIndex:
    """Thread-safe."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = path
        self._source = source
        self._lock = threading.Lock()
        self._noting = threading.Lock()
        self._notes: dict[str, set[str] | None] = {}  # None: the whole chat
        self._check = True
        self._seen = 0
        self._base: sqlite3.Connection | None = None

    def touch(self, chat: str, message: str | None = None) -> None:
        """`message` of `chat` is new or changed; None: anything in it may have."""
        with self._noting:
            noted = self._notes.setdefault(chat, set())
            if message is None or noted is None:
                self._notes[chat] = None
            else:
                noted.add(message)

    def recheck(self) -> None:
        """Compare with the files before the next answer: chats came or went."""
        self._check = True

    def look(self, folder: Path) -> None:
        """Recheck if files came to `folder` or went, whoever did it."""
        with suppress(OSError):
            mtime = folder.stat().st_mtime_ns
            self._check = self._check or mtime != self._seen
            self._seen = mtime

    def find(self, query: str, limit: int, before: str | None) -> list[ChatInfo]:
        """Chats, the one changed last first; with a query those that have all its words in one message or title.

        `before` names the last chat already shown: `updated,id`, which stays valid when that chat is changed or
        deleted; its id alone while it is there; or a time. Raises BadParameter for anything else.
        """
        with self._lock:
            for path in (self._path, self._path, None):
                try:
                    base = self._opened(path)
                    self._catch_up(base)
                    return select(base, query, limit, before)
                except sqlite3.Error as error:
                    _log.warning("the chat index is made anew: %s", error)
                    self._discard()
            return []

    def close(self) -> None:
        """Work in what was noted, and close the file."""
        with self._lock, suppress(sqlite3.Error):
            if self._base is not None:
                self._catch_up(self._base)
        with self._lock:
            self._shut()

    def _opened(self, path: Path | None) -> sqlite3.Connection:
        """The base, made where it is missing; `path` None is one in memory, for when the disk refuses."""
        if self._base is not None:
            return self._base
        base = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=2)
        self._base = base
        # WAL with NORMAL survives kill -9 and never waits for the disk; what a power cut takes, the stamps show.
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        if base.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA:
            if base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise sqlite3.DatabaseError("made by another version")
            try:
                base.execute(_TEXTS)
            except sqlite3.OperationalError:
                base.execute(_PLAIN_TEXTS)
            base.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_SCHEMA}; COMMIT;")
        self._check = True
        return base

    def _shut(self) -> None:
        if self._base is not None:
            with suppress(sqlite3.Error):
                self._base.close()
            self._base = None

    def _discard(self) -> None:
        self._shut()
        for ending in ("", "-wal", "-shm"):
            with suppress(OSError):
                self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    def _catch_up(self, base: sqlite3.Connection) -> None:
        with self._noting:
            notes, self._notes = self._notes, {}
        if not notes and not self._check:
            return
        try:
            if self._check:
                stamps: Mapping[str, Stamp | None] = self._source.stamps()
                known = {row[0]: (row[1], row[2]) for row in base.execute("SELECT id, mtime, size FROM chats")}
                changed = [chat for chat in known.keys() | stamps.keys() if known.get(chat) != stamps.get(chat)]
                notes |= {chat: None for chat in changed if chat not in notes}
            else:
                stamps = {chat: self._source.stamp(chat) for chat in notes}
            base.execute("BEGIN")
            for chat, messages in notes.items():
                self._work_in(base, chat, messages, stamps.get(chat))
            base.execute("COMMIT")
            self._check = False
        except BaseException:
            for chat in notes:
                self.touch(chat)
            if base.in_transaction:
                base.execute("ROLLBACK")
            raise

    def _work_in(self, base: sqlite3.Connection, chat: str, messages: set[str] | None, stamp: Stamp | None) -> None:
        known = base.execute("SELECT title FROM chats WHERE id = ?", (chat,)).fetchone()
        now = self._source.peek(chat) if stamp is not None else None
        whole = messages is None or known is None or now is None
        if whole:
            _forget(base, chat)
        if stamp is None:
            base.execute("DELETE FROM chats WHERE id = ?", (chat,))
            return
        if now is None:
            now = Chat(chat, "A chat that cannot be read", "", "", 0, None, "", {})
        if whole or known[0] != now.title:
            _put(base, chat, "", now.title)
        for message in now.messages if whole else messages or ():
            if message in now.messages:
                _put(base, chat, message, now.messages[message].text)
        row = (chat, now.title, now.created, now.updated, snippet(now), len(now.messages), *stamp)
        base.execute("INSERT OR REPLACE INTO chats VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def _put(base: sqlite3.Connection, chat: str, message: str, text: str) -> None:
    sql = "INSERT INTO places (chat, message) VALUES (?, ?) ON CONFLICT DO UPDATE SET chat = chat RETURNING place"
    place = base.execute(sql, (chat, message)).fetchone()[0]
    base.execute("INSERT OR REPLACE INTO texts (rowid, text) VALUES (?, ?)", (place, text))


def _forget(base: sqlite3.Connection, chat: str) -> None:
    base.execute("DELETE FROM texts WHERE rowid IN (SELECT place FROM places WHERE chat = ?)", (chat,))
    base.execute("DELETE FROM places WHERE chat = ?", (chat,))

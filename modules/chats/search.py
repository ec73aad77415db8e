"""Questions to the chat index.

Matching is by pieces of words of three letters and more (FTS5 trigram), which also finds Chinese, Japanese
and parts of identifiers; shorter words are looked for one by one.
"""

from __future__ import annotations

import re
import sqlite3

from modules.chats.records import clean
from modules.chats.values import Chat, ChatInfo
from modules.errors import BadParameter

_QUERY = 200
_PLACE = re.compile(r"(\d{4}-[0-9T:.Z+-]*|(?=,))(?:,([\w-]+))?")
"""`updated,id` or a time alone; a chat that cannot be read has no time."""
_SNIPPET = 120


def snippet(chat: Chat) -> str:
    """What the chat list shows under a title: the beginning of the last thing said."""
    path = chat.path()
    text = path[-1].text or (path[-2].text if len(path) > 1 else "") if path else ""
    return _shorten(text, 0)


def _shorten(text: str, start: int) -> str:
    piece = " ".join(text[start : start + 2 * _SNIPPET].split())
    cut = piece if len(piece) <= _SNIPPET else piece[: _SNIPPET - 1].rstrip() + "…"
    return f"…{cut}" if start else cut


def _around(text: str, words: list[str]) -> str:
    """The part of `text` where the first word found stands, from a word's beginning."""
    low = text.casefold()
    first = min((at for at in (low.find(word.casefold()) for word in words) if at >= 0), default=0)
    start = max(0, first - 30)
    return _shorten(text, text.find(" ", start, first) + 1 or start if start else 0)


def select(base: sqlite3.Connection, query: str, limit: int, before: str | None) -> list[ChatInfo]:
    """One page of the list; see ChatIndex.find."""
    words = clean(query[:_QUERY]).replace("\0", " ").split()
    where, args = ["1"], list[str | int]()
    if before:
        where.append("(updated, id) < (?, ?)")
        args += _place(base, before)
    if not words:
        sql = f"SELECT id, title, created, updated, snippet, messages FROM chats WHERE {' AND '.join(where)}"
        rows = base.execute(f"{sql} ORDER BY updated DESC, id DESC LIMIT ?", (*args, limit)).fetchall()
        return [ChatInfo(*row) for row in rows]
    match, values = _match(words, _has_fts(base))
    sql = f"""SELECT id, title, created, updated, snippet, messages, hit FROM chats JOIN (
                  SELECT chat, max(CASE WHEN message = '' THEN 0 ELSE place END) AS hit
                  FROM texts JOIN places ON places.place = texts.rowid WHERE {match} GROUP BY chat) ON chat = id
              WHERE {" AND ".join(where)} ORDER BY updated DESC, id DESC LIMIT ?"""
    found: list[ChatInfo] = []
    for chat, title, created, updated, last_said, messages, hit in base.execute(
        sql, (*values, *args, limit)
    ).fetchall():
        text = base.execute("SELECT text FROM texts WHERE rowid = ?", (hit,)).fetchone()
        shown = _around(text[0], words) if text else last_said
        found.append(ChatInfo(chat, title, created, updated, shown, messages))
    return found


def _place(base: sqlite3.Connection, before: str) -> tuple[str, str]:
    """Time and id of the last chat seen. With the time in it the place stays, whatever becomes of that chat."""
    if match := _PLACE.fullmatch(before):
        return match[1], match[2] or ""
    row = base.execute("SELECT updated, id FROM chats WHERE id = ?", (before,)).fetchone()
    if row is None:
        hint = "Send updated and id of the last chat you have, with a comma between, or load the list anew."
        raise BadParameter("There is no such place in the list of chats.", hint=hint, param="before")
    return row[0], row[1]


def _has_fts(base: sqlite3.Connection) -> bool:
    return bool(base.execute("SELECT 1 FROM sqlite_master WHERE name = 'texts_data'").fetchone())


def _match(words: list[str], fts: bool) -> tuple[str, list[str]]:
    """The condition for all `words`, and its values. Every word is data, never FTS or LIKE syntax."""
    long = [word for word in words if fts and len(word) >= 3]
    short = [word for word in words if word not in long]
    parts = ["texts MATCH ?"] * bool(long) + ["text LIKE ? ESCAPE '!'"] * len(short)
    quoted = " ".join('"' + word.replace('"', '""') + '"' for word in long)
    return " AND ".join(parts), [quoted] * bool(long) + ["%" + re.sub("([!%_])", r"!\1", word) + "%" for word in short]

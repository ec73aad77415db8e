"""One open chat: its tree, its journal, and the rule that what is shown has been saved.

The exception to that rule is the end of a reply: when the disk refuses it, the reply stays in memory, the
caller is told, and its line goes out with the next one that the disk takes. A file that is not there is a
disk that refuses: it may come back, and if it does not, memory is written anew in its place.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.chats.journal import Journal
from modules.chats.rebuild import header_of, records_of
from modules.chats.tree import Malformed, Record, Tree
from modules.chats.values import Chat
from modules.disk.clock import now
from modules.errors import Conflict, EnginehouseError, StorageError

_log = logging.getLogger(__name__)


class ChatSession:
    """Use under `lock`.

    alive     replies that run in this process
    users     threads that hold this session now; counted by the store, under its lock
    trashed   the chat was deleted; its replies may still end
    problems  damaged lines found when it was read
    """

    def __init__(self, chat: str, journal: Journal, tree: Tree, problems: list[str]) -> None:
        self.id = chat
        self.lock = threading.RLock()
        self.journal = journal
        self.tree = tree
        self.problems = problems
        self.alive: set[str] = set()
        self.users = 0
        self.trashed = False
        self._unsaved: list[Record] = []
        self._snapshot: Chat | None = None

    @classmethod
    def create(cls, chat: str, path: Path, title: str) -> ChatSession:
        """A new, empty chat on the disk. Raises StorageError."""
        header = {"id": chat, "time": now(), "title": title}
        journal, tree = Journal.create(path, header), Tree(chat)
        tree.apply({"kind": "header", **header})
        return cls(chat, journal, tree, [])

    @classmethod
    def open(cls, chat: str, path: Path) -> ChatSession:
        """The chat as its journal tells it. Raises NotFound or StorageError."""
        journal, tree, problems = _replay(chat, path)
        tree.interrupt()
        return cls(chat, journal, tree, problems)

    @property
    def busy(self) -> bool:
        """Whether memory knows more than the disk, so that the session has to stay."""
        return bool(self.alive or self._unsaved)

    def refresh(self) -> bool:
        """Read the file again if another program wrote to it; whether that was so.

        While memory knows more than the disk, a file that is away changes nothing: saving raises until it is
        back. Raises NotFound or StorageError.
        """
        if not self.journal.changed() or (self.busy and not self.trashed and self.journal.missing()):
            return False
        self.journal, self.tree, self.problems = _replay(self.id, self.journal.path)
        self.alive &= set(self.tree.running())
        waiting, self._unsaved = self._unsaved, []
        for record in waiting:
            if record.get("message") in self.tree.nodes:
                self._unsaved.append(self.tree.stamped(_bare(record), str(record["time"])))
                self.tree.apply(self._unsaved[-1])
            else:
                _log.error("the end of reply %s is lost: its chat was replaced by an older one", record.get("message"))
        self.tree.interrupt(frozenset(self.alive))
        self._snapshot = None
        return True

    def snapshot(self) -> Chat:
        """The chat as a value; made once per change."""
        if self._snapshot is None:
            self._snapshot = self.tree.snapshot()
        return self._snapshot

    def expect(self, rev: int | None) -> None:
        """Raises Conflict if the caller saw another revision than the current one."""
        if rev is not None and rev != self.tree.rev:
            raise Conflict(
                "This chat was changed in another window.",
                hint=f"Reload it; it is at revision {self.tree.rev} now. Your text becomes a branch of its own.",
                param="rev",
            )

    def commit(self, record: Mapping[str, Any], *, keep: bool = False) -> None:
        """Save one record, then show it.

        `keep` shows it even when the disk refuses, and saves it later. Raises StorageError, or Conflict
        when another program wrote to the file.
        """
        stamped = self.tree.stamped(record, now())
        try:
            self.journal.append([*self._unsaved, stamped])
        except EnginehouseError:
            if keep:
                self._unsaved.append(stamped)
                self._show(stamped)
            raise
        self._unsaved.clear()
        self._show(stamped)

    def save_waiting(self) -> None:
        """Try once more to save what the disk refused; a file that is gone is written anew from memory.

        Raises StorageError or Conflict.
        """
        if not self._unsaved:
            return
        if self.journal.missing():
            self.journal.renew(header_of(self.tree), records_of(self.tree))
            _log.warning("the file of chat %s was gone; it is written anew from memory", self.id)
        else:
            self.journal.append(self._unsaved)
        self._unsaved.clear()

    def abandon(self) -> None:
        """The chat was deleted by us and is gone from the trash too: forget what could still be saved to it."""
        self.alive.clear()
        self._unsaved.clear()

    def tidy(self) -> None:
        """Compact the journal if that is worth it and nothing runs. A full disk only puts it off."""
        if self.busy or not self.journal.worth_compacting():
            return
        try:
            self.journal.compact()
        except StorageError as error:
            _log.warning("chat %s was not compacted: %s", self.id, error.message)

    def _show(self, record: Record) -> None:
        self.tree.apply(record)
        self._snapshot = None


def _bare(record: Record) -> Record:
    return {key: value for key, value in record.items() if key not in ("seq", "rev")}


def _replay(chat: str, path: Path) -> tuple[Journal, Tree, list[str]]:
    journal, records, problems = Journal.open(path)
    tree = Tree(chat)
    for record in records:
        try:
            tree.apply(record)
        except Malformed as error:
            problems.append(f"A {record['kind']} record of {path.name} makes no sense ({error}). It is kept unused.")
    if not tree.created:
        problems.append(f"{path.name} has lost its first line.")
        tree.created = next((node.created for node in tree.nodes.values()), "")
        tree.updated = tree.updated or tree.created
    return journal, tree, problems

"""Deleted chats: moved, not removed, and removed for good a month later."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modules.chats.records import is_chat_id
from modules.disk.clock import stamp
from modules.disk.durable import make_folder, move_durably, remove_durably
from modules.errors import NotFound, StorageError

_log = logging.getLogger(__name__)
_MARK = ".deleted-"
_ENDING = ".jsonl"


class Trash:
    """The folder deleted chats lie in, as `<id>.deleted-<time>.jsonl`."""

    def __init__(self, folder: Path, days: int) -> None:
        self.folder = folder
        self._days = days

    def take(self, path: Path) -> Path:
        """Move a chat in; where it is now. Raises StorageError."""
        make_folder(self.folder)
        target = self.folder / f"{path.stem}{_MARK}{stamp()}{_ENDING}"
        move_durably(path, target)
        return target

    def give_back(self, chat: str, target: Path) -> None:
        """Move the chat deleted last under this id to `target`. Raises NotFound or StorageError."""
        found = self._all(chat)
        if not found or target.exists():
            raise NotFound("This chat is not in the trash.", hint=f"Deleted chats are kept for {self._days} days.")
        move_durably(found[-1], target)

    def purge(self) -> int:
        """Remove what was deleted too long ago; how many. One that cannot be removed is left for next time."""
        oldest = (datetime.now(UTC) - timedelta(days=self._days)).strftime("%Y%m%dT%H%M%SZ")
        gone = [path for path in self._all("*") if path.stem.partition(_MARK)[2] < oldest]
        removed = 0
        for path in gone:
            try:
                remove_durably(path)
                removed += 1
            except StorageError as error:
                _log.warning("%s %s", error.message, error.hint)
        return removed

    def _all(self, chat: str) -> list[Path]:
        if chat != "*" and not is_chat_id(chat):
            return []
        return sorted(self.folder.glob(f"{chat}{_MARK}*{_ENDING}"))

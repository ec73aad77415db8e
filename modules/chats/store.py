"""All chats of one user-data folder, on the disk before they are on the screen.

Calls block on the disk (a few milliseconds) and may come from any thread; two chats never wait for each
other. A change carries the revision its author saw: if the chat has moved on, Conflict is raised and
nothing is lost, the author branches. What a call returned is on the disk, with one exception said at
`finish`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from modules.chats import records as records
from modules.chats.attachments import AttachmentStore, check_parts
from modules.chats.export import Export, export
from modules.chats.index import ChatIndex
from modules.chats.session import ChatSession
from modules.chats.session_cache import ChatTable
from modules.chats.trash import Trash
from modules.chats.values import LIST_LIMIT, Chat, ChatInfo, MessageNode
from modules.disk.durable import make_folder, remove_leftovers
from modules.disk.writer_lock import WriterLock
from modules.errors import BadRequest, Conflict, EnginehouseError, NotFound
from modules.messages.message import Role
from modules.messages.parts import FunctionCall, Part

_ENDS = ("done", "stopped", "failed")


class ChatStore:
    """Args:
    folder       where the chats lie, one file each; made if missing
    lock_file    held while the store is open; default `folder/.lock`
    keep_open    chats kept in memory; one with a running reply always stays
    trash_days   how long deleted chats can be restored

    Raises Conflict when another process uses the folder, StorageError when the disk refuses.
    """

    def __init__(
        self, folder: Path, *, lock_file: Path | None = None, keep_open: int = 32, trash_days: int = 30
    ) -> None:  # fmt: skip
        make_folder(folder)
        self.folder = folder
        self._lock = WriterLock(lock_file or folder / ".lock")
        self._table = ChatTable(folder, keep_open, self._noticed)
        self._index = ChatIndex(folder / ".index.sqlite", self._table)
        self.attachments = AttachmentStore(folder / ".attachments")
        self._trash = Trash(folder / ".trash", trash_days)
        try:
            remove_leftovers(folder)
        except EnginehouseError as error:
            self._table.damage[""] = [f"{error.message} {error.hint}"]
        self.empty_trash()

    def empty_trash(self) -> int:
        """Remove for good what was deleted more than `trash_days` ago; how many chats. Raises nothing."""
        return self._trash.purge()

    def close(self) -> None:
        """Save what the disk refused before, if it takes it now, and let another process in."""
        self._table.save_waiting()
        self._index.close()
        self._lock.release()

    @property
    def problems(self) -> list[dict[str, str]]:
        """What was found damaged, for people."""
        return [{"source": "chats", "message": text} for texts in self._table.damage.values() for text in texts]

    # ── whole chats ─────────────────────────────────────────────────────────────────────────────────

    def create(self, title: str = "") -> Chat:
        """A new, empty chat. Without a title its first message gives it one. Raises StorageError."""
        chat = records.new_id()
        session = ChatSession.create(chat, self._table.path(chat), _title(title))
        self._table.add(session)
        self._index.recheck()
        return session.snapshot()

    def get(self, chat: str) -> Chat:
        """The chat as it is now. Raises NotFound or StorageError."""
        with self._table.using(chat) as session:
            return session.snapshot()

    def list(self, query: str = "", limit: int = 50, before: str | None = None) -> list[ChatInfo]:
        """Chats, the one used last first; with `query` those that say all its words in a message or the title.

        `before` is `updated,id` (or the id alone, while it is there) of the last chat of the page before;
        BadParameter is raised for what names no place. `limit` is at most LIST_LIMIT.
        """
        self._index.look(self.folder)
        return self._index.find(query, max(1, min(limit, LIST_LIMIT)), before)

    def rename(self, chat: str, title: str, rev: int | None = None) -> int:
        """Give a name; "" goes back to the automatic one. Returns the new revision."""
        with self._table.using(chat, rev) as session:
            session.commit({"kind": "title", "title": _title(title)})
            self._index.touch(chat)
            return session.tree.rev

    def set_prompt(self, chat: str, text: str, rev: int | None = None) -> int:
        """Set the chat's own system message. Returns the new revision."""
        with self._table.using(chat, rev) as session:
            session.commit({"kind": "system", "text": records.clean(text)})
            return session.tree.rev

    def delete(self, chat: str) -> None:
        """Move the chat to the trash. A reply that runs in it goes on, so that `restore` brings it too."""
        with self._table.using(chat) as session:
            session.journal.path = self._trash.take(session.journal.path)
            session.trashed = True
        self._index.recheck()

    def restore(self, chat: str) -> Chat:
        """Bring a deleted chat back. Raises NotFound when it is not in the trash (any more)."""
        path = self._table.path(chat)
        session = self._table.opened(chat)
        if session is None:
            self._trash.give_back(chat, path)
        else:
            with session.lock:
                self._trash.give_back(chat, path)
                session.journal.path, session.trashed = path, False
        self._index.recheck()
        return self.get(chat)

    def export(self, chat: str, form: str) -> Export:
        """The chat as a file: "markdown" or "jsonl". Raises NotFound, BadParameter or StorageError."""
        with self._table.using(chat) as session:
            return export(session.snapshot(), session.journal.read(), form)

    # ── messages ────────────────────────────────────────────────────────────────────────────────────

    def add_message(
        self, chat: str, parent: str | None, role: str, text: str, rev: int | None = None,
        meta: Mapping[str, Any] | None = None, *, parts: Sequence[Part] = (), name: str = "", tool_call_id: str = "",
        tool_calls: Sequence[FunctionCall] = (),
    ) -> MessageNode:  # fmt: skip
        """A message below `parent` (None: a first one); an edit is one more message with the same parent.

        `parts` is given where there is more than `text`: files that are in `attachments` and texts, which together
        are `text`. Raises BadRequest for parts that carry their bytes, NotFound for a file that is not there.
        """
        if role not in get_args(Role):
            raise BadRequest(f"There is no role {role[:40]!r}.", hint=f"Use one of {', '.join(get_args(Role))}.")
        check_parts(parts, text, self.attachments)
        with self._table.using(chat, rev) as session:
            _need(session, parent)
            return self._added(session, records.message(
                parent, role, text, meta=meta, parts=parts, name=name, tool_calls=tool_calls, tool_call_id=tool_call_id,
            ))  # fmt: skip

    def begin_reply(
        self, chat: str, parent: str | None, model: str | None, continue_of: str | None = None, rev: int | None = None
    ) -> MessageNode:
        """An empty reply below `parent`, running; with `continue_of` one that begins with that reply's text."""
        with self._table.using(chat, rev) as session:
            _need(session, parent)
            more: dict[str, Any] = {"state": "running", "model": model}
            text = ""
            if continue_of is not None:
                _need(session, continue_of)
                old = session.tree.nodes[continue_of]
                text, more = old.text, more | {"reasoning": old.reasoning, "continue_of": continue_of,
                                         "tool_calls": old.tool_calls}  # fmt: skip
            record = records.message(parent, "assistant", text, **more)
            session.alive.add(record["id"])
            try:
                return self._added(session, record)
            except EnginehouseError:
                session.alive.discard(record["id"])
                raise

    def partial(self, chat: str, message: str, text: str, reasoning: str = "") -> None:
        """Save what a running reply has grown by; both texts are the whole so far. About once a second.

        Raises StorageError; the next call then saves this part too.
        """
        with self._table.using(chat, trashed_too=True) as session:
            node = _running(session, message)
            record = records.partial(message, (node.text, node.reasoning), text, reasoning)
            if record is not None:
                session.commit(record)

    def finish(
        self, chat: str, message: str, text: str, reasoning: str = "", state: str = "done", stats: Any = None,
        notices: Sequence[Any] = (), ledger: Any = None, error: Any = None, finish_reason: str | None = None,
        tool_calls: Sequence[FunctionCall] = (),
    ) -> MessageNode:  # fmt: skip
        """End a reply with the whole of it. One that has ended already is returned as it is.

        Raises StorageError when the disk refuses; the reply is shown all the same and saved as soon as
        the disk takes it.
        """
        if state not in _ENDS:
            raise BadRequest(f"A reply cannot end as {state[:40]!r}.", hint=f"Use one of {', '.join(_ENDS)}.")
        with self._table.using(chat, trashed_too=True) as session:
            if message not in session.alive:
                _need(session, message, hidden_too=True)
                return session.tree.nodes[message]
            _running(session, message)
            session.alive.discard(message)
            self._index.touch(chat, message)
            session.commit(
                records.final(
                    message, text, reasoning, state, stats=stats, notices=notices, ledger=ledger, error=error,
                    finish_reason=finish_reason, tool_calls=tool_calls,
                ),
                keep=True,
            )  # fmt: skip
            session.tidy()
            return session.tree.nodes[message]

    def save_waiting(self, chat: str) -> None:
        """Try once more to save the ends of replies that the disk refused. Raises as `finish` does."""
        with self._table.using(chat, trashed_too=True) as session:
            session.save_waiting()
            self._index.touch(chat)

    def select(self, chat: str, leaf: str, rev: int | None = None) -> int:
        """Show the version `leaf`, down to its most recent end. Returns the new revision."""
        with self._table.using(chat, rev) as session:
            _need(session, leaf)
            session.commit({"kind": "select", "leaf": session.tree.recent_leaf(leaf)})
            self._index.touch(chat, leaf)
            return session.tree.rev

    def delete_message(self, chat: str, message: str, rev: int | None = None) -> int:
        """Hide `message` and all below it. Returns how many messages that are."""
        with self._table.using(chat, rev) as session:
            _need(session, message)
            count = sum(1 for _ in session.tree.below(message))
            session.commit({"kind": "delete", "message": message, "leaf": session.tree.leaf_without(message)})
            self._index.touch(chat)
            return count

    def undelete(self, chat: str, message: str, rev: int | None = None) -> int:
        """Take a deletion back; one of something else above it has to be taken back first. Returns the count."""
        with self._table.using(chat, rev) as session:
            tree = session.tree
            _need(session, message, hidden_too=True)
            if not tree.deleted(message):
                raise Conflict("This message is not deleted.", hint="Reload the chat.")
            parent = tree.nodes[message].parent
            if parent is not None and not tree.visible(parent):
                raise Conflict("The message above this one is deleted too.", hint="Bring that one back first.")
            session.commit({"kind": "undelete", "message": message, "leaf": tree.leaf_with(message)})
            self._index.touch(chat)
            return sum(1 for _ in tree.below(message))

    def _noticed(self, chat: str | None) -> None:
        if chat is None:
            self._index.recheck()
        else:
            self._index.touch(chat)

    def _added(self, session: ChatSession, record: dict[str, Any]) -> MessageNode:
        session.commit(record)
        self._index.touch(session.id, record["id"])
        return session.tree.nodes[record["id"]]


def _need(session: ChatSession, message: str | None, *, hidden_too: bool = False) -> None:
    if message is not None and not (message in session.tree.nodes if hidden_too else session.tree.visible(message)):
        raise NotFound("This message does not exist any more.", hint="Reload the chat.")


def _running(session: ChatSession, message: str) -> MessageNode:
    if message not in session.alive:
        raise Conflict("This reply has ended already.", hint="Reload the chat.")
    return session.tree.nodes[message]


def _title(text: str) -> str:
    return " ".join(records.clean(text).split())[:200]

"""Replies of chats: saved in the chat's journal, followed and stopped by the pages that show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

from modules.chats.store import ChatStore
from modules.chats.values import Chat, MessageNode
from modules.errors import NotFound
from modules.events import Events
from modules.replies.log import piece
from modules.replies.reply import failed_event, stats_dict
from modules.replies.running import Replies
from modules.replies.sink import Begun, Outcome


class ChatSink:
    """Writes one reply into a chat, as a new message below `parent`.

    model         name of the model that will answer, None = not known before it is loaded
    continue_of   the reply that this one continues: it begins with its text
    rev           revision of the chat that the person saw, None = whatever it is
    node          the message, once it has begun
    """

    def __init__(
        self, chats: ChatStore, events: Events, chat: str, parent: str, model: str | None,
        continue_of: str | None = None, rev: int | None = None,
    ) -> None:  # fmt: skip
        self.node: MessageNode | None = None
        self._chats = chats
        self._events = events
        self._chat = chat
        self._parent = parent
        self._model = model
        self._continue_of = continue_of
        self._rev = rev
        self._tried = False

    @property
    def group(self) -> str:
        """The chat."""
        return self._chat

    def begin(self) -> Begun:
        """See ReplySink. Raises Conflict, NotFound or StorageError."""
        self.node = node = self._chats.begin_reply(
            self._chat, self._parent, self._model, self._continue_of, self._rev
        )  # fmt: skip
        return Begun(node.id, node.text, node.reasoning, node.rev)

    def partial(self, text: str, reasoning: str) -> None:
        """See ReplySink."""
        self._chats.partial(self._chat, self._id, text, reasoning)

    def finish(self, outcome: Outcome) -> int:
        """See ReplySink."""
        # A second try: not only what waits, for where even looking at the chat failed it was not told the end yet.
        again, self._tried = self._tried, True
        node = self._chats.finish(
            self._chat, self._id, outcome.text, outcome.reasoning, outcome.state, stats_dict(outcome.stats),
            tuple(asdict(notice) for notice in outcome.notices),
            None if outcome.ledger is None else asdict(outcome.ledger), outcome.error, outcome.finish_reason,
            outcome.tool_calls,
        )  # fmt: skip
        if again:
            self._chats.save_waiting(self._chat)
        return node.rev

    def changed(self, state: str, rev: int) -> None:
        """Open pages hear of it."""
        self._events.publish({"type": "reply", "chat": self._chat, "message": self._id, "state": state})
        self._events.publish({"type": "chat", "id": self._chat, "rev": rev, "kind": "changed"})

    @property
    def _id(self) -> str:
        assert self.node is not None
        return self.node.id


class ChatReplies:
    """The replies of all chats, running or kept. Call in the event loop."""

    def __init__(self, chats: ChatStore, replies: Replies) -> None:
        self._chats = chats
        self._replies = replies

    async def stop(self, chat: str, message: str) -> bool:
        """End exactly this reply; False when it is not running. Raises NotFound when it is none of that chat."""
        reply = self._replies.find(message)
        if reply is None or reply.sink.group != chat:
            await self._stored(chat, message)
        return await self._replies.stop(message)

    def with_live_text(self, chat: dict[str, Any]) -> dict[str, Any]:
        """A chat's JSON with what memory knows better than the disk: newest text and state of unsaved replies.

        Call in the event loop: the texts are taken from logs that grow there. A reply that had to load its
        model did not know the name at its start; its ledger does.
        """
        for node in chat["messages"]:
            reply = self._replies.find(node["id"])
            if reply is not None and (not reply.saved or node["state"] == "running"):
                node |= {"text": reply.text, "reasoning": reply.reasoning, "state": reply.state}
            node["model"] = node["model"] or (node["ledger"] or {}).get("model")
        return chat

    async def follow(self, chat: str, message: str, start: int = 0) -> AsyncGenerator[dict[str, Any], None]:
        """Events of a reply from index `start`. One that is over is told from the store. Raises NotFound."""
        reply = self._replies.find(message)
        if reply is not None and reply.sink.group == chat:
            return reply.log.follow(start)
        stored, node = await self._stored(chat, message)
        return replayed(node, stored.rev, start)

    async def _stored(self, chat: str, message: str) -> tuple[Chat, MessageNode]:
        stored = await asyncio.to_thread(self._chats.get, chat)
        node = stored.messages.get(message)
        if node is None or node.role != "assistant":
            raise NotFound("There is no such reply in this chat.", hint="Reload the chat.", code="reply_not_found")
        return stored, node


async def replayed(node: MessageNode, rev: int, start: int) -> AsyncGenerator[dict[str, Any], None]:
    """A finished reply told from the store: its whole text, then its end.

    A page that had come to another index is told to start over, because those events are gone.
    """
    if start > 0:
        yield {"reset": True}
    if node.reasoning:
        yield piece("r", node.reasoning, 0)
    if node.text:
        yield piece("t", node.text, 0)
    for index, call in enumerate(node.tool_calls):
        yield {"tool_call": {"index": index, **asdict(call), "tokens": 0}}
    for notice in node.notices:
        yield {"notice": notice}
    if node.ledger:
        yield {"ledger": node.ledger}
    if node.error:
        yield failed_event(node.error, rev)
    elif node.state == "interrupted":
        yield failed_event(INTERRUPTED, rev)
    else:
        yield {"done": {"reason": node.finish_reason, "stop": None, "stats": node.stats or {}, "rev": rev}}


INTERRUPTED = {
    "message": "The server ended while this reply was written.",
    "hint": "Continue it, or ask for a new version.",
    "code": "interrupted",
}

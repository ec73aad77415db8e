"""What the tests of chats share."""

from __future__ import annotations

import errno
import os
from typing import Any

from modules.chats.session import ChatSession
from modules.chats.store import ChatStore
from modules.chats.values import Chat, MessageNode


class FullDisk:
    """`os` for modules.disk.durable on a disk that can be full."""

    full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: memoryview) -> int:
        if self.full:
            os.write(fd, bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(fd, data)


def again(store: ChatStore, chat: str) -> Chat:
    """The chat as another process would find it if this one died now."""
    return ChatSession.open(chat, store.folder / f"{chat}.jsonl").snapshot()


def ask(store: ChatStore, chat: str, text: str = "Hello", parent: str | None = None) -> MessageNode:
    """Something a person says."""
    return store.add_message(chat, parent, "user", text)


def turn(store: ChatStore, chat: str, answer: str = "Hi.", parent: str | None = None) -> MessageNode:
    """A question and its reply; the reply."""
    asked = ask(store, chat, parent=parent)
    return store.finish(chat, store.begin_reply(chat, asked.id, "echo").id, answer)

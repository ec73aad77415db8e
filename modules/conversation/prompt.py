"""What the model is asked in a chat: the messages of the request, from the system prompt to the newest message."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from modules.chats.values import Chat, MessageNode
from modules.conversation.reply_params import ReplyParams
from modules.settings.store import Settings
from modules.types import GenerationRequest, Message


@dataclass(frozen=True, slots=True)
class Overrides:
    """Model and preset for one reply; "" = what is in use. The next reply does not keep them."""

    model: str = ""
    preset: str = ""


AS_IN_USE = Overrides()


class PromptBuilder:
    """Builds the request of a reply.

    params    the sampling parameters of a reply
    settings  `context_overflow`: what to do when the chat does not fit the context
    """

    def __init__(self, params: ReplyParams, settings: Settings) -> None:
        self._params = params
        self._settings = settings

    def build(
        self, chat: Chat, leaf: str, tail: MessageNode | None = None, by: Overrides = AS_IN_USE
    ) -> GenerationRequest:
        """The chat's system prompt and the messages down to `leaf`, as a request.

        `tail` is a reply that is to be continued: its text stands last and is left open. Reads the disk for a
        preset; raises NotFound, BadRequest or StorageError for one that cannot be read.
        """
        system = [Message("system", chat.system)] if chat.system.strip() else []
        history = [Message(node.role, node.text) for node in chat.path(leaf) if node.text or node.role == "user"]
        last = [Message("assistant", tail.text)] if tail is not None else []
        return GenerationRequest(
            id=uuid.uuid4().hex,
            model=by.model or None,
            messages=(*merged([*system, *history]), *last),
            params=self._params.values(by.preset),
            continue_last=tail is not None,
            overflow=self._settings.context_overflow,
            origin="chat",
        )


def merged(messages: Sequence[Message]) -> list[Message]:
    """Neighbours of one role as one message, with an empty line between.

    They stand side by side where a reply failed before its first word; many models' templates refuse them.
    """
    found: list[Message] = []
    for message in messages:
        if found and found[-1].role == message.role:
            text = "\n\n".join(one for one in (found[-1].content, message.content) if one)
            found[-1] = Message(message.role, text)
        else:
            found.append(message)
    return found

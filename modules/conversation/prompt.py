"""What the model is asked in a chat: the request, made of the messages that each source gives."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modules.chats.attachments import AttachmentStore
from modules.chats.values import Chat, MessageNode
from modules.conversation.reply_params import ReplyParams
from modules.conversation.sources import SOURCES, Asked, PromptSource
from modules.messages.parts import FilePart, ImagePart, Part
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
    settings  `context_overflow`: what to do when the chat does not fit the context; `thinking`: on, off or default
    sources   what gives messages, in the order in which the model reads them
    files     the attachments that messages refer to; None = there are none
    """

    def __init__(
        self, params: ReplyParams, settings: Settings, sources: Sequence[PromptSource] = SOURCES,
        files: AttachmentStore | None = None,
    ) -> None:  # fmt: skip
        self._files = files
        self._sources = sources
        self._params = params
        self._settings = settings

    def build(
        self, chat: Chat, leaf: str, tail: MessageNode | None = None, by: Overrides = AS_IN_USE
    ) -> GenerationRequest:
        """The request for a reply to the messages down to `leaf`; neighbours of one role are sent as one.

        `tail` is a reply that is to be continued: its text stands last and is left open. Reads the disk for a
        preset; raises NotFound, BadRequest or StorageError for one, or for an attached image, that cannot be
        read.
        """
        path = chat.path(leaf) if tail is None else [*chat.path(leaf), tail]
        asked = Asked(chat, tuple(path), continues=tail is not None)
        named = [
            replace(self._with_images(message), source=source.name)
            for source in self._sources
            for message in source.messages(asked)
        ]
        return GenerationRequest(
            id=uuid.uuid4().hex,
            model=by.model or None,
            messages=tuple(named),
            merge_neighbours=True,
            params=self._params.values(by.preset),
            continue_last=tail is not None,
            overflow=self._settings.context_overflow,
            thinking=self._settings.thinking,
            origin="chat",
        )

    def _with_images(self, message: Message) -> Message:
        """The message with its attached images read; files of other kinds stay, and the pipeline names them."""
        if not any(isinstance(part, FilePart) for part in message.content):
            return message
        return replace(message, content=tuple(map(self._read, message.content)))

    def _read(self, part: Part) -> Part:
        if self._files is None or not isinstance(part, FilePart) or not part.media_type.startswith("image/"):
            return part
        return ImagePart(base64.b64encode(self._files.get(part.sha256)).decode())

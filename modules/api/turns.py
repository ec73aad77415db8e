"""Turns of a chat: what a person does to it, from the click to the reply that starts.

Blocking store calls run in threads. Nothing is overwritten: an edit, a new version and a continuation are all
further children of the same parent.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from modules.api.params import supported
from modules.app import App
from modules.chats.values import Chat, MessageNode
from modules.errors import BadRequest, NotFound
from modules.replies.offer import Offer, confirmed, loaded_with, no_offer
from modules.sampling.params import PARAMS, starting_values
from modules.types import GenerationRequest, Message, ParamValue, Role


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn made. `rev` is the chat's revision after it."""

    rev: int
    message: MessageNode | None = None
    reply: MessageNode | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        message = {} if self.message is None else {"message": self.message.as_dict()}
        return {**message, "reply": None if self.reply is None else self.reply.as_dict(), "rev": self.rev}


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one reply is written with, other than what is in use: "" = that. Nothing of it is kept for the next one."""

    model: str = ""
    preset: str = ""


def request_for(
    chat: Chat, leaf: str, app: App, tail: MessageNode | None = None, by: Overrides = Overrides()
) -> GenerationRequest:
    """What the model is asked: the chat's system text and the messages down to `leaf`.

    `tail` is a reply that is to be continued: its text stands last and is left open. Reads the disk for a preset;
    raises NotFound, BadRequest or StorageError for one that cannot be read.
    """
    system = [Message("system", chat.system)] if chat.system.strip() else []
    turns = [Message(node.role, node.text) for node in chat.path(leaf) if node.text or node.role == "user"]
    last = [Message("assistant", tail.text)] if tail is not None else []
    return GenerationRequest(
        id=uuid.uuid4().hex,
        model=by.model or None,
        messages=(*merged([*system, *turns]), *last),
        params=params_for(app, by.preset),
        continue_last=tail is not None,
        overflow=app.settings.context_overflow,
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


def params_for(app: App, preset: str = "") -> dict[str, ParamValue]:
    """The values in use; those a person never touched and this loader does not honour are left out.

    Else every reply of a plain loader would come with a notice for each starting value. With `preset`, its values
    and otherwise neutral ones in their place, but for what belongs to the person (seed, reply length …).
    """
    values = dict(app.params.values)
    if preset:
        values |= {param.name: param.default for param in PARAMS if param.in_presets} | app.presets.load(preset)
    start, honoured = starting_values(), frozenset(supported(app))
    return {name: value for name, value in values.items() if name in honoured or value != start[name]}


class Turns:
    """The actions, over the parts of one program."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def send(self, chat_id: str, parent: str | None, role: Role, text: str, rev: int | None, reply: bool) -> Turn:
        """A new message below `parent`, and a reply to it if asked for."""
        store = self._app.chats
        message = await asyncio.to_thread(store.add_message, chat_id, parent, role, text, rev)
        if not reply:
            self._changed(chat_id, message.rev)
            return Turn(message.rev, message)
        answer = await self._reply(chat_id, message.id, None)
        return Turn(answer.rev, message, answer)

    async def edit(self, chat_id: str, message_id: str, text: str, rev: int | None, reply: bool) -> Turn:
        """A changed copy beside the message. Its reply is asked for only below a person's message."""
        chat, node = await self._node(chat_id, message_id)
        with_reply = reply and node.role == "user"
        return await self.send(chat.id, node.parent, node.role, text, rev, with_reply)

    async def regenerate(
        self, chat_id: str, message_id: str, rev: int | None, by: Overrides = Overrides(), smaller: bool = False
    ) -> Turn:
        """A further version of a reply, or a new reply below a person's message.

        With `smaller` its model is loaded first, with the settings offered when it did not fit.
        Raises: NotFound for a model or preset that is not there, Unsupported for a model that cannot run, BadRequest
        when nothing smaller was offered, or for another model than `by` names.
        """
        if by.model:
            model = await asyncio.to_thread(self._app.catalog.get, by.model)
            await asyncio.to_thread(self._app.models.pick_loader, model)
            by = replace(by, model=model.name)
        _, node = await self._node(chat_id, message_id)
        parent = node.parent if node.role == "assistant" else node.id
        if parent is None:
            raise BadRequest("There is nothing to answer: this message is the first of the chat.")
        offer = await self._offer(node) if smaller else None
        if offer is not None and by.model and by.model != offer.model:
            raise BadRequest(f"What was offered is for {offer.model}, not for {by.model}.", code="nothing_smaller")
        answer = await self._reply(chat_id, parent, rev, by=by, offer=offer)
        return Turn(answer.rev, None, answer)

    async def _offer(self, node: MessageNode) -> Offer:
        """What to try instead: as the model's last load offered it, else as this reply's own did. Raises BadRequest."""
        status = self._app.models.status
        own = Offer.of(node.error)
        last = Offer.of(status.error) if status.state == "failed" else None
        if last is not None and last.model == (own.model if own else node.model or last.model):
            return last
        if own is None:
            raise no_offer()
        model = await asyncio.to_thread(self._app.catalog.get, own.model)
        spec = self._app.registry.get(own.loader)
        kept = self._app.models.saved_settings(model.name, spec.name)
        usual = {name: kept.get(name, value) for name, value in spec.check_settings({}).items()}
        return confirmed(own, spec, usual)

    async def continue_reply(self, chat_id: str, message_id: str, rev: int | None) -> Turn:
        """A further version of a reply that begins with its text and goes on from there."""
        _, node = await self._node(chat_id, message_id)
        if node.role != "assistant" or node.parent is None:
            raise BadRequest("Only a reply can be continued.", code="not_a_reply")
        if node.state == "running":
            raise BadRequest("This reply is still being written.", hint="Stop it first.", code="still_running")
        answer = await self._reply(chat_id, node.parent, rev, node)
        return Turn(answer.rev, None, answer)

    async def _node(self, chat_id: str, message_id: str) -> tuple[Chat, MessageNode]:
        chat = await asyncio.to_thread(self._app.chats.get, chat_id)
        node = chat.messages.get(message_id)
        if node is None:
            raise NotFound("There is no such message in this chat.", hint="Reload the chat.", code="message_not_found")
        return chat, node

    async def _reply(
        self, chat_id: str, parent: str, rev: int | None, tail: MessageNode | None = None, by: Overrides = Overrides(),
        offer: Offer | None = None,
    ) -> MessageNode:  # fmt: skip
        """Begin a reply below `parent` and hand it to the server.

        Nothing that can fail stands between its line in the chat and its start: it would run for ever.
        """
        app = self._app
        by = by if offer is None else replace(by, model=offer.model)
        model = by.model or app.models.status.model
        continue_of = None if tail is None else tail.id
        chat = await asyncio.to_thread(app.chats.get, chat_id)
        request = await asyncio.to_thread(request_for, chat, parent, app, tail, by)
        node = await asyncio.to_thread(app.chats.begin_reply, chat_id, parent, model, continue_of, rev)
        before = None if offer is None else loaded_with(offer, app.models, app.begin_load)
        app.replies.start(chat_id, node, request, before)
        return node

    def _changed(self, chat_id: str, rev: int) -> None:
        self._app.events.publish({"type": "chat", "id": chat_id, "rev": rev, "kind": "changed"})

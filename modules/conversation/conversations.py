"""Send, edit, regenerate and continue: what a person does in a chat, up to the reply that starts.

Blocking store calls run in threads. Nothing is overwritten: an edit, a new version and a continuation are all
further children of the same parent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from loaders import Registry
from modules.chats.store import ChatStore
from modules.chats.values import Chat, MessageNode
from modules.conversation.chat_replies import ChatSink
from modules.conversation.context_offer import overflow_offers
from modules.conversation.prompt import AS_IN_USE, Overrides, PromptBuilder
from modules.errors import BadRequest, ContextOverflow, EnginehouseError, NotFound
from modules.events import Events
from modules.generation.pipeline import Generation
from modules.generation.stop_signal import StopSignal
from modules.messages.parts import TextPart
from modules.models.catalog import Catalog
from modules.models.pool import ModelPool
from modules.replies.offer import BeginLoad, Offer, confirmed, loaded_with, no_offer
from modules.replies.running import Replies
from modules.types import Chunk, Failed, GenerationRequest, Role

_log = logging.getLogger("enginehouse.conversation")


@dataclass(frozen=True, slots=True)
class ChatChange:
    """What an action added to a chat. `rev` is the chat's revision after it."""

    rev: int
    message: MessageNode | None = None
    reply: MessageNode | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        message = {} if self.message is None else {"message": self.message.as_dict()}
        return {**message, "reply": None if self.reply is None else self.reply.as_dict(), "rev": self.rev}


class Conversations:
    """The actions on all chats of one program.

    begin_load   loads a model in a task of its own, for a reply that takes an offer
    """

    def __init__(
        self, chats: ChatStore, generation: Generation, replies: Replies, prompts: PromptBuilder, models: ModelPool,
        catalog: Catalog, registry: Registry, events: Events, begin_load: BeginLoad,
    ) -> None:  # fmt: skip
        self._chats = chats
        self._generation = generation
        self._replies = replies
        self._prompts = prompts
        self._models = models
        self._catalog = catalog
        self._registry = registry
        self._events = events
        self._begin_load = begin_load

    async def send(
        self, chat_id: str, parent: str | None, role: Role, text: str, rev: int | None, reply: bool,
        like: MessageNode | None = None,
    ) -> ChatChange:  # fmt: skip
        """A new message below `parent`, and a reply to it if asked for. It takes over the files, speaker and calls of
        the message `like`."""
        message = await asyncio.to_thread(
            partial(self._chats.add_message, chat_id, parent, role, text, rev, **kept_facts(like, text))
        )
        if not reply:
            self._changed(chat_id, message.rev)
            return ChatChange(message.rev, message)
        answer = await self._reply(chat_id, message.id, None)
        return ChatChange(answer.rev, message, answer)

    async def edit(self, chat_id: str, message_id: str, text: str, rev: int | None, reply: bool) -> ChatChange:
        """A changed copy beside the message. Its reply is asked for only below a person's message."""
        chat, node = await self._node(chat_id, message_id)
        with_reply = reply and node.role == "user"
        return await self.send(chat.id, node.parent, node.role, text, rev, with_reply, node)

    async def regenerate(
        self, chat_id: str, message_id: str, rev: int | None, by: Overrides = AS_IN_USE, smaller: bool = False,
        larger: bool = False,
    ) -> ChatChange:  # fmt: skip
        """A further version of a reply, or a new reply below a person's message.

        With `smaller` its model is loaded first, with the settings offered when it did not fit; with `larger`, with the
        context offered when the prompt did not fit.
        Raises: NotFound for a model or preset that is not there, Unsupported for a model that cannot run, BadRequest
        when nothing such was offered, or for another model than `by` names.
        """
        if by.model:
            model = await asyncio.to_thread(self._catalog.get, by.model)
            await asyncio.to_thread(self._models.pick_loader, model)
            by = replace(by, model=model.name)
        _, node = await self._node(chat_id, message_id)
        parent = node.parent if node.role == "assistant" else node.id
        if parent is None:
            raise BadRequest("There is nothing to answer: this message is the first of the chat.")
        if smaller and larger:
            raise BadRequest("A model can be loaded with less memory or with a larger context, not both.",
                             hint="Send smaller or larger.", param="larger")  # fmt: skip
        offer = await self._offer(node, larger) if smaller or larger else None
        if offer is not None and by.model and by.model != offer.model:
            raise BadRequest(f"What was offered is for {offer.model}, not for {by.model}.", code="nothing_smaller")
        answer = await self._reply(chat_id, parent, rev, by=by, offer=offer)
        return ChatChange(answer.rev, None, answer)

    async def _offer(self, node: MessageNode, larger: bool) -> Offer:
        """What to try instead: as the model's last load offered it, else as this reply's own did. Raises BadRequest."""
        status = self._models.status
        own = Offer.larger_of(node.error) if larger else Offer.of(node.error)
        last = Offer.of(status.error) if status.state == "failed" and not larger else None
        if last is not None and last.model == (own.model if own else node.model or last.model):
            return last
        if own is None:
            raise no_offer()
        model = await asyncio.to_thread(self._catalog.get, own.model)
        spec = self._registry.get(own.loader)
        kept = self._models.saved_settings(model.name, spec.name)
        usual = {name: kept.get(name, value) for name, value in spec.check_settings({}).items()}
        return confirmed(own, spec, usual)

    async def continue_reply(self, chat_id: str, message_id: str, rev: int | None) -> ChatChange:
        """A further version of a reply that begins with its text and goes on from there."""
        _, node = await self._node(chat_id, message_id)
        if node.role != "assistant" or node.parent is None:
            raise BadRequest("Only a reply can be continued.", code="not_a_reply")
        if node.state == "running":
            raise BadRequest("This reply is still being written.", hint="Stop it first.", code="still_running")
        answer = await self._reply(chat_id, node.parent, rev, node)
        return ChatChange(answer.rev, None, answer)

    async def _node(self, chat_id: str, message_id: str) -> tuple[Chat, MessageNode]:
        chat = await asyncio.to_thread(self._chats.get, chat_id)
        node = chat.messages.get(message_id)
        if node is None:
            raise NotFound("There is no such message in this chat.", hint="Reload the chat.", code="message_not_found")
        return chat, node

    async def _reply(
        self, chat_id: str, parent: str, rev: int | None, tail: MessageNode | None = None, by: Overrides = AS_IN_USE,
        offer: Offer | None = None,
    ) -> MessageNode:  # fmt: skip
        """Begin a reply below `parent` and hand it to the server."""
        by = by if offer is None else replace(by, model=offer.model)
        model = by.model or self._models.status.model
        chat = await asyncio.to_thread(self._chats.get, chat_id)
        request = await asyncio.to_thread(self._prompts.build, chat, parent, tail, by)
        message = parent if chat.messages[parent].role == "user" else None
        sink = ChatSink(self._chats, self._events, chat_id, parent, model, None if tail is None else tail.id, rev)
        await self._replies.start(sink, partial(self._stream, request, offer, message))
        assert sink.node is not None
        return sink.node

    async def _stream(
        self, request: GenerationRequest, offer: Offer | None, message: str | None, stop: StopSignal
    ) -> AsyncGenerator[Chunk, None]:
        """The reply to `message`; before it the load of what was offered, which ends it when it fails.

        A prompt that does not fit comes with offers of what to do.
        """
        if offer is not None:
            async with aclosing(loaded_with(offer, self._models, self._begin_load)) as steps:
                async for chunk in steps:
                    yield chunk
                    if type(chunk) is Failed:
                        return
        async with aclosing(self._generation.stream(request, stop)) as chunks:
            async for chunk in chunks:
                yield chunk if type(chunk) is not Failed else await self._with_offers(chunk, request, message)

    async def _with_offers(self, failed: Failed, request: GenerationRequest, message: str | None) -> Failed:
        if failed.error.get("code") != ContextOverflow.code:
            return failed
        models = None if request.model not in (None, self._models.status.model) else self._models
        try:
            offers = await asyncio.to_thread(overflow_offers, failed.error, message, models)
        except EnginehouseError as error:
            _log.warning("no larger context can be offered: %s", error.message)
            offers = await asyncio.to_thread(overflow_offers, failed.error, message, None)
        return replace(failed, error={**failed.error, "offers": offers})

    def _changed(self, chat_id: str, rev: int) -> None:
        self._events.publish({"type": "chat", "id": chat_id, "rev": rev, "kind": "changed"})


def kept_facts(node: MessageNode | None, text: str) -> dict[str, Any]:
    """What an edit of `node` keeps beside its new text: attached files, speaker, tool calls."""
    if node is None:
        return {}
    files = tuple(part for part in node.parts if not isinstance(part, TextPart))
    parts = (*files, TextPart(text)) if files else ()
    return {
        "parts": parts, "name": node.name, "tool_calls": node.tool_calls, "tool_call_id": node.tool_call_id,
    }  # fmt: skip

"""/api/chats/…/messages and /replies: send, edit, regenerate, continue, delete; follow a reply and stop it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from modules.api.chats import MAX_TEXT, Body, Rev
from modules.api.event_stream import EventStream
from modules.app import App
from modules.conversation.prompt import Overrides


class NewMessage(Body):
    text: str = Field(max_length=MAX_TEXT)
    parent: str | None = Field(default=None, max_length=100)
    rev: Rev = None
    role: Literal["user", "system", "assistant"] = "user"
    reply: bool = True


class EditedMessage(Body):
    text: str = Field(max_length=MAX_TEXT)
    rev: Rev = None
    reply: bool = False


class RevisionBody(Body):
    rev: Rev = None


class RegenerateBody(RevisionBody):
    """`model` and `preset`: for this reply only; without them what is in use.

    `smaller`: load the model first with what its failed load offered (the error's `fallback`); `larger`: with the
    context that was offered for a prompt that did not fit (the error's `offers`).
    """

    model: str = Field(default="", max_length=500)
    preset: str = Field(default="", max_length=200)
    smaller: bool = False
    larger: bool = False


def message_routes(app: App) -> APIRouter:
    """What makes, changes and hides messages."""
    router = APIRouter()
    conversations = app.conversations

    async def rev_now(chat_id: str) -> int:
        rev = (await asyncio.to_thread(app.chats.get, chat_id)).rev
        app.events.publish({"type": "chat", "id": chat_id, "rev": rev, "kind": "changed"})
        return rev

    @router.post("/api/chats/{chat_id}/messages", status_code=201)
    async def send(chat_id: str, body: NewMessage) -> dict[str, Any]:
        """A message below `parent`, and the reply to it, which starts at once."""
        change = await conversations.send(chat_id, body.parent, body.role, body.text, body.rev, body.reply)
        return change.as_dict()

    @router.post("/api/chats/{chat_id}/messages/{message_id}/edit", status_code=201)
    async def edit(chat_id: str, message_id: str, body: EditedMessage) -> dict[str, Any]:
        """A changed copy beside the message; with `reply` also a new reply below it."""
        return (await conversations.edit(chat_id, message_id, body.text, body.rev, body.reply)).as_dict()

    @router.post("/api/chats/{chat_id}/messages/{message_id}/regenerate", status_code=201)
    async def regenerate(chat_id: str, message_id: str, body: RegenerateBody | None = None) -> dict[str, Any]:
        """A further version of a reply, or a reply to a message that has none; by another model or preset if named."""
        body = body or RegenerateBody()
        by = Overrides(body.model, body.preset)
        return (await conversations.regenerate(chat_id, message_id, body.rev, by, body.smaller, body.larger)).as_dict()

    @router.post("/api/chats/{chat_id}/messages/{message_id}/continue", status_code=201)
    async def continue_reply(chat_id: str, message_id: str, body: RevisionBody | None = None) -> dict[str, Any]:
        """A further version that begins with the old text and goes on."""
        return (await conversations.continue_reply(chat_id, message_id, body.rev if body else None)).as_dict()

    @router.delete("/api/chats/{chat_id}/messages/{message_id}")
    async def delete(chat_id: str, message_id: str, rev: Annotated[int | None, Query(ge=0)] = None) -> dict[str, Any]:
        """Hide a message and what follows it; `undelete` brings it back."""
        removed = await asyncio.to_thread(app.chats.delete_message, chat_id, message_id, rev)
        return {"removed": removed, "rev": await rev_now(chat_id)}

    @router.post("/api/chats/{chat_id}/messages/{message_id}/undelete")
    async def undelete(chat_id: str, message_id: str, body: RevisionBody | None = None) -> dict[str, Any]:
        """Undo a delete."""
        await asyncio.to_thread(app.chats.undelete, chat_id, message_id, body.rev if body else None)
        return {"rev": await rev_now(chat_id)}

    return router


def reply_routes(app: App) -> APIRouter:
    """Following and stopping a reply."""
    router = APIRouter()

    @router.get(
        "/api/chats/{chat_id}/replies/{message_id}",
        response_class=Response,
        responses={200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}},
    )
    async def follow(
        chat_id: str, message_id: str, start: Annotated[int, Query(alias="from", ge=0, le=10**9)] = 0
    ) -> Response:
        """Server-sent events of a reply from index `from`: what there is at once, then what comes."""
        return EventStream(await app.chat_replies.follow(chat_id, message_id, start))

    @router.post("/api/chats/{chat_id}/replies/{message_id}/stop")
    async def stop(chat_id: str, message_id: str) -> dict[str, bool]:
        """End exactly this reply and keep its text. 404 when it is not a reply of this chat."""
        return {"stopped": await app.chat_replies.stop(chat_id, message_id)}

    return router

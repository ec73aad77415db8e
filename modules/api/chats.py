"""/api/chats: the list, one chat, and what can be done to it as a whole."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from modules.api.json_response import json_answer, to_json
from modules.app import App
from modules.chats.values import LIST_LIMIT, Chat
from modules.errors import BadParameter

MAX_TITLE = 200
MAX_TEXT = 8 * 1024 * 1024  # characters of one message
Rev = Annotated[int | None, Field(ge=0)]


class Body(BaseModel):
    """Bodies say what they mean: no unknown fields, no values turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewChat(Body):
    title: str = Field(default="", max_length=MAX_TITLE)


class ChangedChat(Body):
    title: str | None = Field(default=None, max_length=MAX_TITLE)
    system: str | None = Field(default=None, max_length=MAX_TEXT)
    rev: Rev = None


class Selection(Body):
    leaf: str = Field(max_length=100)
    rev: Rev = None


def tell(app: App, chat: str, rev: int, kind: str) -> None:
    """Open pages hear that a chat was "created", "changed", "deleted" or "restored"."""
    app.events.publish({"type": "chat", "id": chat, "rev": rev, "kind": kind})


def list_routes(app: App) -> APIRouter:
    """The routes of the list: what there is, a new one, one less, one back."""
    router = APIRouter()
    store = app.chats

    @router.get("/api/chats")
    async def list_chats(
        query: Annotated[str, Query(max_length=500)] = "",
        limit: Annotated[int, Query(ge=1, le=LIST_LIMIT)] = 50,
        before: Annotated[str | None, Query(max_length=100)] = None,
    ) -> dict[str, Any]:
        """Chats changed last first; `query` searches titles and messages.

        `before` is `updated,id` of the last chat of the page before.
        """
        found = await asyncio.to_thread(store.list, query, limit, before)
        return {"chats": [info.as_dict() for info in found]}

    @router.post("/api/chats", status_code=201)
    async def create_chat(body: NewChat | None = None) -> dict[str, Any]:
        """A new, empty chat."""
        chat = await asyncio.to_thread(store.create, body.title.strip() if body else "")
        tell(app, chat.id, chat.rev, "created")
        return chat.as_dict()

    @router.delete("/api/chats/{chat_id}")
    async def delete_chat(chat_id: str) -> dict[str, Any]:
        """Put it into the trash; `restore` brings it back. Running replies end first and are kept."""
        await app.replies.stop_group(chat_id)
        await asyncio.to_thread(store.delete, chat_id)
        tell(app, chat_id, 0, "deleted")
        return {"deleted": chat_id}

    @router.post("/api/chats/{chat_id}/restore")
    async def restore_chat(chat_id: str) -> dict[str, Any]:
        """Undo a delete."""
        chat = await asyncio.to_thread(store.restore, chat_id)
        tell(app, chat_id, chat.rev, "restored")
        return chat.as_dict()

    return router


def chat_routes(app: App) -> APIRouter:
    """The routes of one chat as a whole."""
    router = APIRouter()
    store = app.chats

    @router.get("/api/chats/{chat_id}", response_class=Response)
    async def get_chat(chat_id: str) -> Response:
        """The whole chat; replies in progress with the text they have now."""
        facts = await asyncio.to_thread(lambda: store.get(chat_id).as_dict())
        app.chat_replies.with_live_text(facts)  # here and not in a thread: the texts grow in this loop
        return json_answer(await asyncio.to_thread(to_json, facts))

    @router.patch("/api/chats/{chat_id}")
    async def change_chat(chat_id: str, body: ChangedChat) -> dict[str, Any]:
        """Rename it, or set its system text."""
        if body.title is None and body.system is None:
            raise BadParameter("There is nothing to change.", hint="Send title, system, or both.", param="title")

        def change() -> Chat:
            rev = body.rev
            if body.title is not None:
                rev = store.rename(chat_id, body.title, rev)
            if body.system is not None:
                store.set_prompt(chat_id, body.system, rev)
            return store.get(chat_id)

        chat = await asyncio.to_thread(change)
        tell(app, chat_id, chat.rev, "changed")
        facts = chat.as_dict()
        del facts["messages"]
        return facts

    @router.post("/api/chats/{chat_id}/select")
    async def select(chat_id: str, body: Selection) -> dict[str, Any]:
        """Show another version: the conversation that ends in `leaf`."""
        rev = await asyncio.to_thread(store.select, chat_id, body.leaf, body.rev)
        tell(app, chat_id, rev, "changed")
        return {"rev": rev}

    @router.get("/api/chats/{chat_id}/export")
    async def export(chat_id: str, form: Annotated[str, Query(alias="as", max_length=20)] = "markdown") -> Response:
        """The shown conversation as Markdown, or the whole journal."""
        made = await asyncio.to_thread(store.export, chat_id, form)
        disposition = f"attachment; filename*=UTF-8''{quote(made.name)}"
        headers = {"content-disposition": disposition, "cache-control": "no-store"}
        return Response(made.data, media_type=made.media_type, headers=headers)

    return router

"""Chat routes over a real store, without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from modules import app as app_module
from modules.api.chats import chat_routes, list_routes
from modules.api.replies import message_routes, reply_routes
from modules.app import App
from modules.chats.values import LIST_LIMIT
from modules.errors import NotFound
from modules.replies.sink import ReplySink
from modules.sampling.params import BY_NAME
from modules.settings.store import Settings
from modules.types import GenerationRequest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    built = App.build(Settings({"user_data_dir": str(tmp_path), "extensions": ()}))
    built.events.bind()
    yield built
    await built.close()


def client(app: App) -> httpx.AsyncClient:
    site = FastAPI()
    for routes in (list_routes, chat_routes, message_routes, reply_routes):
        site.include_router(routes(app))
    return httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://localhost")


async def test_the_texts_of_replies_are_read_in_the_loop_that_writes_them(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    real = app.chat_replies.with_live_text

    def noted(chat: dict[str, Any]) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return real(chat)

    monkeypatch.setattr(app.chat_replies, "with_live_text", noted)
    async with client(app) as http:
        answer = await http.get(f"/api/chats/{app.chats.create().id}")
    assert answer.status_code == 200
    assert threads == [threading.get_ident()]


async def test_a_page_of_chats_holds_as_many_as_the_limit_says(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(app.chats._index, "find", lambda query, limit, before: asked.append(limit) or [])
    async with client(app) as http:
        for limit, status in ((1, 200), (LIST_LIMIT, 200), (LIST_LIMIT + 1, 422), (0, 422)):
            assert (await http.get(f"/api/chats?limit={limit}")).status_code == status
    assert asked == [1, LIST_LIMIT]


async def test_stop_under_another_chat_is_not_found(app: App) -> None:
    chat, other = app.chats.create().id, app.chats.create().id
    reply = app.chats.begin_reply(chat, None, "m")
    async with client(app) as http:
        with pytest.raises(NotFound):
            await http.post(f"/api/chats/{other}/replies/{reply.id}/stop")
        assert (await http.post(f"/api/chats/{chat}/replies/{reply.id}/stop")).json() == {"stopped": False}


async def test_the_trash_is_emptied_while_the_server_runs(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "TRASH_SECONDS", 0.02)
    await app.start()
    old = app.paths.chats / ".trash" / "abc.deleted-20200101T000000Z.jsonl"
    old.parent.mkdir(exist_ok=True)
    for _ in range(2):
        old.write_text("{}\n")
        async with asyncio.timeout(5):
            while old.exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture
def asked(app: App, monkeypatch: pytest.MonkeyPatch) -> list[GenerationRequest]:
    """What replies were started with; none is really written."""
    requests: list[GenerationRequest] = []

    async def noted(sink: ReplySink, source: Any) -> None:
        sink.begin()
        requests.append(source.args[0])

    monkeypatch.setattr(app.replies, "start", noted)
    return requests


async def test_a_reply_written_again_by_another_model_and_preset_leaves_what_is_in_use(
    app: App, asked: list[GenerationRequest]
) -> None:
    chat = app.chats.create().id
    app.params.set({"temperature": 0.5, "top_k": 7, "seed": 42})
    app.presets.save("Mine", {"temperature": 1.5})
    before = dict(app.params.values)
    sent = await app.conversations.send(chat, None, "user", "Hello", None, True)
    assert sent.reply
    async with client(app) as http:
        path = f"/api/chats/{chat}/messages/{sent.reply.id}/regenerate"
        answer = await http.post(path, json={"rev": sent.rev, "model": "echo", "preset": "Mine"})
    assert answer.status_code == 201
    assert answer.json()["reply"]["model"] == "echo"
    assert answer.json()["reply"]["parent"] == sent.reply.parent
    first, second = asked
    assert (first.model, first.params["temperature"], first.params["top_k"]) == (None, 0.5, 7)
    assert (second.model, second.params["temperature"], second.params["seed"]) == ("echo", 1.5, 42)
    assert second.params["top_k"] == BY_NAME["top_k"].default  # the preset leaves it out
    assert dict(app.params.values) == before

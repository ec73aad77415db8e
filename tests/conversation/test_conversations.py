"""Send, edit, regenerate and continue over a real store: what happens when a step of them goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modules.app import App
from modules.conversation.prompt import Overrides
from modules.errors import BadRequest, NotFound, StorageError
from modules.messages.parts import FilePart, ImagePart, TextPart
from modules.replies.sink import ReplySink
from modules.settings.store import Settings
from modules.types import GenerationRequest, Message

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    built = App.build(Settings({"user_data_dir": str(tmp_path), "extensions": ()}))
    built.events.bind()
    yield built
    await built.close()


@pytest.fixture
def asked(app: App, monkeypatch: pytest.MonkeyPatch) -> list[GenerationRequest]:
    """What replies were started with; none is really written."""
    requests: list[GenerationRequest] = []

    async def noted(sink: ReplySink, source: Any) -> None:
        sink.begin()
        requests.append(source.args[0])

    monkeypatch.setattr(app.replies, "start", noted)
    return requests


@pytest.mark.parametrize("fails", ["get", "build"])
async def test_a_reply_that_cannot_be_started_does_not_stay_running(
    app: App, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    chat = app.chats.create().id
    with monkeypatch.context() as patch:

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise StorageError("The disk reported an error.")

        if fails == "get":
            patch.setattr(app.chats, "get", refuse)
        else:
            patch.setattr(app.conversations._prompts, "build", refuse)
        with pytest.raises(StorageError):
            await app.conversations.send(chat, None, "user", "Hello", None, True)
    assert [node.state for node in app.chats.get(chat).messages.values()] == ["done"]
    assert app.replies.running == 0


@pytest.mark.parametrize("by", [Overrides(model="no such model"), Overrides(preset="no such preset")])
async def test_a_reply_by_what_is_not_there_is_refused_and_nothing_is_begun(
    app: App, asked: list[GenerationRequest], by: Overrides
) -> None:
    chat = app.chats.create().id
    sent = await app.conversations.send(chat, None, "user", "Hello", None, True)
    assert sent.reply
    with pytest.raises(NotFound):
        await app.conversations.regenerate(chat, sent.reply.id, sent.rev, by)
    assert len(app.chats.get(chat).messages) == 2
    assert len(asked) == 1


def failed_reply(app: App, settings: dict[str, Any]) -> tuple[str, str]:
    """A chat with a reply whose model did not fit, as its file tells it: (chat, reply)."""
    chat = app.chats.create().id
    question = app.chats.add_message(chat, None, "user", "Hello")
    reply = app.chats.begin_reply(chat, question.id, "echo")
    changes = [{"name": "context", "label": "Context length", "was": "4,096", "now": "2,048"}]
    offer = {"model": "echo", "loader": "echo", "settings": settings, "says": "", "changes": changes}
    app.chats.finish(chat, reply.id, "", state="failed", error={"message": "Too large.", "fallback": offer})
    return chat, reply.id


@pytest.mark.parametrize(("context", "model"), [(8_000_000, ""), (2048, "other")])
async def test_an_offer_that_is_not_what_a_chat_says_of_it_is_refused_and_nothing_is_begun(
    app: App, asked: list[GenerationRequest], monkeypatch: pytest.MonkeyPatch, context: int, model: str
) -> None:
    chat, reply = failed_reply(app, {"context": context})
    echo = app.catalog.get("echo")
    monkeypatch.setattr(app.catalog, "get", lambda name: replace(echo, name=name))
    with pytest.raises(BadRequest) as refused:
        await app.conversations.regenerate(chat, reply, None, Overrides(model), smaller=True)
    assert refused.value.code == "nothing_smaller"
    assert asked == []
    assert len(app.chats.get(chat).messages) == 2
    chat, reply = failed_reply(app, {"context": 2048})
    await app.conversations.regenerate(chat, reply, None, smaller=True)
    assert [one.model for one in asked] == ["echo"]


async def test_an_edit_keeps_the_files_and_the_speaker(app: App, asked: list[GenerationRequest]) -> None:
    chat = app.chats.create().id
    image = FilePart(app.chats.attachments.put(b"png"), "image/png", "cat.png")
    old = app.chats.add_message(chat, None, "user", "Look", parts=(image, TextPart("Look")), name="Ann")
    change = await app.conversations.edit(chat, old.id, "Look again", None, True)
    assert change.message is not None
    assert (change.message.parts, change.message.name) == ((image, TextPart("Look again")), "Ann")
    assert asked[0].messages == (Message("user", (ImagePart("cG5n"), TextPart("Look again")), name="Ann"),)

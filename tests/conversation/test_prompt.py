"""What the model is asked in a chat, and which source each message is told to come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loaders import Registry
from modules.chats.store import ChatStore
from modules.conversation.prompt import PromptBuilder
from modules.conversation.reply_params import ReplyParams
from modules.conversation.sources import SOURCES, Asked
from modules.generation.pipeline import Generation
from modules.messages.parts import FilePart, FunctionCall, ImagePart, TextPart
from modules.sampling.presets import Presets
from modules.sampling.values import ParamValues
from modules.settings.store import Settings
from modules.types import GenerationRequest, Ledger, LedgerSource, Message
from tests.engine_stand_in import Lender, StandIn


@pytest.fixture
def chats(tmp_path: Path) -> Iterator[ChatStore]:
    store = ChatStore(tmp_path / "chats")
    yield store
    store.close()


@pytest.fixture
def params(tmp_path: Path) -> ReplyParams:
    settings = Settings({"user_data_dir": str(tmp_path)})
    paths = settings.make_paths()
    presets = Presets(tmp_path, paths.presets)
    return ReplyParams(ParamValues(paths, presets), presets, Registry(), lambda: "echo")


def asked_again(chats: ChatStore) -> tuple[str, str, str]:
    """A chat whose first reply failed before its first word and was asked for once more: (chat, failed, newest)."""
    chat = chats.create().id
    chats.set_prompt(chat, "Be short.")
    first = chats.add_message(chat, None, "user", "Hello")
    failed = chats.begin_reply(chat, first.id, "m")
    chats.finish(chat, failed.id, "", state="failed", error={"code": "engine_crashed"})
    return chat, failed.id, chats.add_message(chat, failed.id, "user", "Are you there?").id


async def ledger_of(request: GenerationRequest, engine: StandIn) -> Ledger:
    ledger = (await Generation(Lender(engine)).run(request)).ledger
    assert ledger is not None
    return ledger


@pytest.mark.anyio
async def test_an_empty_failed_reply_is_left_out_and_the_questions_around_it_are_one_message(
    chats: ChatStore, params: ReplyParams
) -> None:
    chat, _, newest = asked_again(chats)
    request = PromptBuilder(params, Settings({})).build(chats.get(chat), newest)
    questions = [Message("user", "Hello"), Message("user", "Are you there?")]
    assert request.messages == (Message("system", "Be short."), *questions)
    assert [message.source for message in request.messages] == ["system_prompt", "history", "history"]
    engine = StandIn()
    ledger = await ledger_of(request, engine)
    assert engine.requests[0].prompt == "system: Be short.\nuser: Hello\n\nAre you there?"
    assert sum(source.tokens for source in ledger.sources) == ledger.prompt_tokens


def test_a_reply_that_is_continued_stands_last_even_when_it_is_empty(chats: ChatStore, params: ReplyParams) -> None:
    chat, failed, _ = asked_again(chats)
    stored = chats.get(chat)
    tail = stored.messages[failed]
    assert tail.parent is not None
    request = PromptBuilder(params, Settings({})).build(stored, tail.parent, tail)
    assert request.continue_last
    assert request.messages is not None
    assert request.messages[-1] == Message("assistant", "")


class Lore:
    """A source of tomorrow."""

    name = "lore"

    def messages(self, asked: Asked) -> list[Message]:
        return [Message("system", "The castle is old.")] if "castle" in asked.path[-1].text else []


@pytest.mark.anyio
async def test_a_further_source_is_named_with_its_tokens_and_is_never_dropped(
    chats: ChatStore, params: ReplyParams
) -> None:
    builder = PromptBuilder(params, Settings({}), (SOURCES[0], Lore(), *SOURCES[1:]))
    chat = chats.create().id
    old = chats.add_message(chat, None, "user", "x" * 60)
    new = chats.add_message(chat, old.id, "user", "Who lives in the castle?")
    engine = StandIn(context=120)
    ledger = await ledger_of(builder.build(chats.get(chat), new.id), engine)
    lore, history = ledger.sources
    assert (lore.name, lore.messages, lore.dropped_messages) == ("lore", 1, 0)
    assert lore == LedgerSource("lore", lore.tokens, 1)
    assert (history.name, history.messages, history.dropped_messages) == ("history", 1, 1)
    assert history.dropped_tokens == ledger.dropped_tokens > 0
    assert lore.tokens + history.tokens == ledger.prompt_tokens
    assert "castle is old" in str(engine.requests[0].prompt_text or engine.requests[0].prompt)


def test_attached_images_are_read_and_calls_and_speakers_are_sent(chats: ChatStore, params: ReplyParams) -> None:
    chat = chats.create().id
    image = FilePart(chats.attachments.put(b"png"), "image/png", "cat.png")
    note = FilePart(chats.attachments.put(b"note"), "text/plain", "note.txt")
    asked = chats.add_message(chat, None, "user", "Look", parts=(image, TextPart("Look"), note), name="Ann")
    reply = chats.begin_reply(chat, asked.id, "echo")
    call = FunctionCall("c1", "weather")
    chats.finish(chat, reply.id, "", "hm", finish_reason="tool_calls", tool_calls=(call,))
    told = chats.add_message(chat, reply.id, "tool", "4 C", tool_call_id="c1")
    request = PromptBuilder(params, Settings({}), files=chats.attachments).build(chats.get(chat), told.id)
    assert request.messages == (
        Message("user", (ImagePart("cG5n"), TextPart("Look"), note), name="Ann"),
        Message("assistant", tool_calls=(call,), reasoning="hm"),
        Message("tool", "4 C", tool_call_id="c1"),
    )

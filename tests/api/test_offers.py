"""A reply asked for again with the smaller settings that its failed load offered, over a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LiveServer, running_server

LAST = "last: echo\nmodels:\n  echo: {loader: echo, settings: {context: 4096, fails_above: 1024}}\n"


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[LiveServer]:
    """A server whose last model does not fit with its last settings."""
    (tmp_path / "models.yaml").write_text(LAST, encoding="utf-8")
    with running_server(tmp_path) as live:
        yield live


def ended(live: LiveServer, chat: dict[str, Any], turn: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events of a reply to its end, and the message as it is kept."""
    events = live.events(chat["id"], turn["reply"]["id"])
    kept = live.call("GET", f"/api/chats/{chat['id']}")["messages"]
    return events, next(node for node in kept if node["id"] == turn["reply"]["id"])


def again(live: LiveServer, chat: dict[str, Any], turn: dict[str, Any]) -> Any:
    """Ask for the reply anew with less."""
    return live.call(
        "POST", f"/api/chats/{chat['id']}/messages/{turn['reply']['id']}/regenerate", {"smaller": True}
    )  # fmt: skip


def test_a_reply_takes_what_its_failed_load_offered_until_it_fits_and_says_what_changed(tight: LiveServer) -> None:
    chat, turn = tight.chat("Does it fit?")
    events, node = ended(tight, chat, turn)
    offer = events[-1]["failed"]["fallback"]
    assert (offer["model"], offer["loader"], offer["settings"]["context"]) == ("echo", "echo", 2048)
    assert (node["state"], node["error"]["fallback"]) == ("failed", offer)
    events, second = ended(tight, chat, turn := again(tight, chat, turn))
    assert (second["state"], second["model"]) == ("failed", "echo")
    assert second["error"]["fallback"]["settings"]["context"] == 1024
    events, third = ended(tight, chat, again(tight, chat, turn))
    assert (third["state"], third["text"]) == ("done", "Does it fit?")
    said = [event["notice"] for event in events if "notice" in event]
    assert [one["code"] for one in said] == ["load_fallback"]
    assert "2,048 → 1,024" in said[0]["message"]
    assert third["notices"][0]["message"] == said[0]["message"]
    status = tight.call("GET", "/api/state")["model"]
    assert (status["state"], status["settings"]["context"]) == ("ready", 1024)
    kept = tight.call("GET", f"/api/chats/{chat['id']}")["messages"]
    assert {one["parent"] for one in kept if one["role"] == "assistant"} == {kept[0]["id"]}  # versions of one reply


def test_less_is_refused_where_nothing_was_offered(shared_server: LiveServer) -> None:
    chat, turn = shared_server.chat("Fits")
    shared_server.events(chat["id"], turn["reply"]["id"])
    path = f"/api/chats/{chat['id']}/messages/{turn['reply']['id']}/regenerate"
    before = shared_server.call("GET", f"/api/chats/{chat['id']}")["messages"]
    answer = shared_server.call("POST", path, {"smaller": True}, status=400)
    assert answer["error"]["code"] == "nothing_smaller"
    assert shared_server.call("GET", f"/api/chats/{chat['id']}")["messages"] == before


def test_a_reply_that_waits_for_the_smaller_load_can_be_stopped(tight: LiveServer) -> None:
    chat, turn = tight.chat("Does it fit?")
    ended(tight, chat, turn)
    tight.load_echo(speed=5.0, script="It takes its time. " * 200)
    tight.chat("Keeps the model until the end")  # so the smaller load cannot begin, however fast the machine is
    turn = again(tight, chat, turn)
    assert tight.call("POST", f"/api/chats/{chat['id']}/replies/{turn['reply']['id']}/stop") == {"stopped": True}
    assert ended(tight, chat, turn)[1]["state"] == "stopped"
    tight.call("POST", "/api/models/unload", {})


def test_a_message_that_does_not_fit_is_refused_with_offers_and_the_chat_goes_on(tmp_path: Path) -> None:
    large = "word " * 3000
    with running_server(tmp_path) as live:
        live.load_echo(context=1024)
        chat, turn = live.chat("My name is Ada.")
        ended(live, chat, turn)
        events, refused = ended(live, chat, turn := live.chat(large, live.call("GET", f"/api/chats/{chat['id']}"))[1])
        failed = events[-1]["failed"]
        assert failed["code"] == refused["error"]["code"] == "context_length_exceeded"
        assert failed["figures"]["limit"] == 1024 < failed["figures"]["needed"]
        edit, larger = failed["offers"]
        assert (edit["kind"], edit["message"]) == ("edit_message", turn["message"]["id"])
        _, node = ended(live, chat, live.chat("Who am I?", live.call("GET", f"/api/chats/{chat['id']}"))[1])
        assert (node["state"], node["text"]) == ("done", "Who am I?")
        assert (node["ledger"]["oversized_messages"], node["ledger"]["kept_messages"]) == (1, 3)
        path = f"/api/chats/{chat['id']}/messages/{turn['reply']['id']}/regenerate"
        _, node = ended(live, chat, live.call("POST", path, {"larger": True}))
        assert (node["state"], node["text"][:10]) == ("done", large[:10])
        assert [notice["code"] for notice in node["notices"]] == ["context_enlarged"]
        assert live.call("GET", "/api/state")["model"]["settings"]["context"] == larger["settings"]["context"]
        assert live.call("POST", path, {"larger": True, "smaller": True}, status=400)["error"]["param"] == "larger"
        other = f"/api/chats/{chat['id']}/messages/{node['id']}/regenerate"
        assert live.call("POST", other, {"larger": True}, status=400)["error"]["code"] == "nothing_smaller"

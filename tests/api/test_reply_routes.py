"""Replies over a real server: they belong to it, not to who listens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import LiveServer, Start, running_server

LOREM = "lorem ipsum dolor sit amet, consetetur sadipscing elitr " * 10
FOR_EVER = LOREM * 100


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("t", "") for event in events)


def wait_until(condition: Any, seconds: float = 30.0) -> float:
    """Seconds until `condition()` was true; fails when it never is."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - start


def wait_for_text(live: LiveServer, chat: dict[str, Any], characters: int) -> None:
    """Wait until the newest reply of a chat has so many characters."""
    path = f"/api/chats/{chat['id']}"
    wait_until(lambda: len(live.call("GET", path)["messages"][-1]["text"]) >= characters)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose echo engine repeats what it is sent at 100 tokens per second: LOREM in two seconds."""
    with running_server(tmp_path_factory.mktemp("slow")) as live:
        live.load_echo(speed=100, context=1_000_000)
        yield live


def test_a_reply_streams_and_is_kept_with_its_figures(shared_server: LiveServer) -> None:
    chat, turn = shared_server.chat("say this back, please")
    events = shared_server.events(chat["id"], turn["reply"]["id"])
    assert text_of(events) == "say this back, please"
    done = events[-1]["done"]
    assert done["reason"] == "stop"
    assert done["stats"]["completion_tokens"] > 0
    kept = shared_server.call("GET", f"/api/chats/{chat['id']}")
    node = kept["messages"][-1]
    assert (node["text"], node["state"], node["model"]) == ("say this back, please", "done", "echo")
    assert node["stats"] == done["stats"]
    assert kept["rev"] == done["rev"]
    assert kept["title"] == "say this back, please"


def test_starting_values_that_a_loader_does_not_know_are_not_worth_a_notice(shared_server: LiveServer) -> None:
    chat, turn = shared_server.chat("quiet")
    assert not [event for event in shared_server.events(chat["id"], turn["reply"]["id"]) if "notice" in event]
    shared_server.call("PATCH", "/api/params", {"top_k": 7})
    chat, turn = shared_server.chat("loud")
    notices = [e["notice"] for e in shared_server.events(chat["id"], turn["reply"]["id"]) if "notice" in e]
    shared_server.call("POST", "/api/params/reset")
    assert [notice["param"] for notice in notices] == ["top_k"]


def test_a_page_joins_and_comes_back_at_any_index_without_a_gap(slow: LiveServer) -> None:
    chat, turn = slow.chat(LOREM)
    seen, n = "", 0
    for _ in range(6):  # read a little, hang up, come back at the index reached
        for count, event in enumerate(slow.follow(chat["id"], turn["reply"]["id"], n)):
            seen, n = seen + event.get("t", ""), event.get("i", n + 1)
            if count == 7:
                break
    rest = slow.events(chat["id"], turn["reply"]["id"], n)
    assert seen + text_of(rest) == LOREM
    assert text_of(slow.events(chat["id"], turn["reply"]["id"])) == LOREM


def test_what_has_piled_up_comes_in_one_piece_with_its_index(slow: LiveServer) -> None:
    chat, turn = slow.chat(LOREM)
    wait_for_text(slow, chat, 120)
    first = next(event for event in slow.follow(chat["id"], turn["reply"]["id"]) if "t" in event)
    assert first["n"] > 20
    assert first["i"] > 20


def test_a_reply_goes_on_when_everybody_hangs_up(slow: LiveServer) -> None:
    chat, turn = slow.chat(LOREM)
    for _ in slow.follow(chat["id"], turn["reply"]["id"]):
        break
    node_path = f"/api/chats/{chat['id']}"
    wait_until(lambda: slow.call("GET", node_path)["messages"][-1]["state"] == "done")
    assert slow.call("GET", node_path)["messages"][-1]["text"] == LOREM


def test_stop_ends_exactly_that_reply_and_the_engine_at_once(slow: LiveServer) -> None:
    other_chat, other = slow.chat(LOREM * 3)

    def only_the_other_runs() -> bool:
        running = slow.call("GET", "/api/state")["model"]["running"]
        other_state = slow.call("GET", f"/api/chats/{other_chat['id']}")["messages"][-1]["state"]
        return bool(running == (other_state == "running"))

    took = [60.0]
    while took[-1] >= 1.0 and len(took) <= 3:  # the quickest counts: other programs can only slow it down
        chat, turn = slow.chat(FOR_EVER)
        wait_for_text(slow, chat, 60)
        before = time.monotonic()
        path = f"/api/chats/{chat['id']}/replies/{turn['reply']['id']}/stop"
        assert slow.call("POST", path) == {"stopped": True}
        wait_until(only_the_other_runs)
        took.append(time.monotonic() - before)
    assert min(took) < 1.0  # alone it takes a few hundredths of a second
    assert slow.call("POST", path) == {"stopped": False}
    events = slow.events(chat["id"], turn["reply"]["id"])
    node = slow.call("GET", f"/api/chats/{chat['id']}")["messages"][-1]
    assert events[-1]["done"]["reason"] == "cancelled"
    assert events[-1]["done"]["stats"]["completion_tokens"] > 5
    assert node["state"] == "stopped"
    assert node["text"] == text_of(events)
    assert FOR_EVER.startswith(node["text"])
    assert 0 < len(node["text"]) < len(FOR_EVER)
    assert text_of(slow.events(other_chat["id"], other["reply"]["id"])) == LOREM * 3


def test_regenerate_makes_a_further_version_and_continue_begins_with_the_old_text(shared_server: LiveServer) -> None:
    chat, turn = shared_server.chat("again and again")
    shared_server.events(chat["id"], turn["reply"]["id"])
    base = f"/api/chats/{chat['id']}/messages"
    second = shared_server.call("POST", f"{base}/{turn['reply']['id']}/regenerate")
    shared_server.events(chat["id"], second["reply"]["id"])
    assert second["reply"]["parent"] == turn["message"]["id"]
    third = shared_server.call("POST", f"{base}/{second['reply']['id']}/continue")
    events = shared_server.events(chat["id"], third["reply"]["id"])
    assert third["reply"]["text"] == "again and again"
    assert text_of(events).startswith("again and again")
    now = shared_server.call("GET", f"/api/chats/{chat['id']}")
    versions = [node for node in now["messages"] if node["parent"] == turn["message"]["id"]]
    assert len(versions) == 3
    assert versions[2]["continue_of"] == second["reply"]["id"]
    shared_server.call("POST", f"{base}/{turn['message']['id']}/continue", status=400)


def test_an_edited_message_can_be_sent_and_gets_its_own_reply(shared_server: LiveServer) -> None:
    chat, turn = shared_server.chat("first try")
    shared_server.events(chat["id"], turn["reply"]["id"])
    path = f"/api/chats/{chat['id']}/messages/{turn['message']['id']}/edit"
    edited = shared_server.call("POST", path, {"text": "second try", "reply": True})
    assert text_of(shared_server.events(chat["id"], edited["reply"]["id"])) == "second try"
    assert edited["message"]["parent"] is None


def test_the_whole_conversation_is_what_the_model_is_asked(server: Start) -> None:
    live = server()
    live.load_echo()
    chat = live.call("POST", "/api/chats", {})
    short = {"text": "hi", "parent": None}
    turn = live.call("POST", f"/api/chats/{chat['id']}/messages", short)
    one = live.events(chat["id"], turn["reply"]["id"])[-1]["done"]["stats"]["prompt_tokens"]
    live.call("PATCH", f"/api/chats/{chat['id']}", {"system": "a long system text " * 20})
    more = {"text": "hi", "parent": turn["reply"]["id"]}
    turn = live.call("POST", f"/api/chats/{chat['id']}/messages", more)
    two = live.events(chat["id"], turn["reply"]["id"])[-1]["done"]["stats"]["prompt_tokens"]
    assert two > one + 60


def test_a_crashed_engine_keeps_the_partial_text_and_the_next_message_works(server: Start) -> None:
    live = server()
    live.load_echo(script=LOREM, speed=500, crash_at=50)
    chat, turn = live.chat("x")
    events = live.events(chat["id"], turn["reply"]["id"])
    failed = events[-1]["failed"]
    assert failed["code"] == "engine_crashed"
    assert failed["hint"]
    node = live.call("GET", f"/api/chats/{chat['id']}")["messages"][-1]
    assert node["state"] == "failed"
    assert node["error"]["code"] == "engine_crashed"
    assert node["text"] == text_of(events)
    assert len(node["text"]) > 50
    live.load_echo()
    retry = live.call("POST", f"/api/chats/{chat['id']}/messages/{node['id']}/regenerate")
    assert text_of(live.events(chat["id"], retry["reply"]["id"])) == "x"


def test_unloading_the_model_fails_its_reply_which_keeps_its_text(server: Start) -> None:
    live = server()
    live.load_echo(script=FOR_EVER, speed=100, context=1_000_000)
    chat, turn = live.chat("x")
    wait_for_text(live, chat, 20)
    assert live.call("POST", "/api/models/unload")["state"] == "empty"
    events = live.events(chat["id"], turn["reply"]["id"])
    assert events[-1]["failed"]["code"] == "engine_stopped"
    node = live.call("GET", f"/api/chats/{chat['id']}")["messages"][-1]
    assert (node["state"], node["text"]) == ("failed", text_of(events))
    assert len(node["text"]) >= 20


def test_without_a_model_a_reply_says_what_to_do(server: Start) -> None:
    live = server()
    chat, turn = live.chat("x")
    failed = live.events(chat["id"], turn["reply"]["id"])[-1]["failed"]
    assert failed["code"] in ("no_models", "not_ready")
    assert failed["hint"]


def test_a_reply_that_loads_its_model_tells_which_one_it_was(server: Start, tmp_path: Path) -> None:
    live = server(user_data=tmp_path / "kept")
    live.load_echo()
    live.stop()
    again = server(user_data=tmp_path / "kept")
    chat, turn = again.chat("who are you")
    events = again.events(chat["id"], turn["reply"]["id"])
    assert text_of(events) == "who are you"
    assert any(event.get("progress", {}).get("stage") == "loading" for event in events)
    assert any(event.get("notice", {}).get("code") == "model_loaded" for event in events)
    assert again.call("GET", f"/api/chats/{chat['id']}")["messages"][-1]["model"] == "echo"


def test_a_reply_that_is_over_is_told_from_the_disk_after_a_restart(server: Start, tmp_path: Path) -> None:
    first = server(user_data=tmp_path / "kept")
    first.load_echo()
    chat, turn = first.chat("to be kept")
    first.events(chat["id"], turn["reply"]["id"])
    assert first.stop() == 0
    second = server(user_data=tmp_path / "kept")
    assert text_of(second.events(chat["id"], turn["reply"]["id"])) == "to be kept"
    late = second.events(chat["id"], turn["reply"]["id"], 5)
    assert late[0] == {"reset": True}
    assert text_of(late) == "to be kept"
    assert late[-1]["done"]["stats"]["completion_tokens"] > 0


def test_following_what_is_no_reply_is_not_found(shared_server: LiveServer) -> None:
    chat, turn = shared_server.chat("x")
    for message in (turn["message"]["id"], "nothing", "..%2f"):
        answer = shared_server.http.get(f"/api/chats/{chat['id']}/replies/{message}")
        assert answer.status_code == 404
    shared_server.call("GET", f"/api/chats/{chat['id']}/replies/{turn['reply']['id']}?from=-1", status=400)


def test_two_versions_of_a_reply_can_be_written_at_once(slow: LiveServer) -> None:
    chat, turn = slow.chat(LOREM)
    again = slow.call("POST", f"/api/chats/{chat['id']}/messages/{turn['reply']['id']}/regenerate")
    assert text_of(slow.events(chat["id"], again["reply"]["id"])) == LOREM
    assert text_of(slow.events(chat["id"], turn["reply"]["id"])) == LOREM


def test_deleting_a_chat_ends_its_reply_and_keeps_what_was_written(slow: LiveServer) -> None:
    chat, turn = slow.chat(FOR_EVER)
    wait_for_text(slow, chat, 60)
    slow.call("DELETE", f"/api/chats/{chat['id']}")
    wait_until(lambda: slow.call("GET", "/api/state")["model"]["running"] == 0)
    back = slow.call("POST", f"/api/chats/{chat['id']}/restore")
    assert back["messages"][-1]["id"] == turn["reply"]["id"]
    assert back["messages"][-1]["state"] == "stopped"
    assert back["messages"][-1]["text"]


def test_the_bytes_of_a_streamed_token_are_few(slow: LiveServer) -> None:
    chat, turn = slow.chat(LOREM)
    size = tokens = 0
    with httpx.Client(base_url=slow.base_url) as client:
        with client.stream("GET", f"/api/chats/{chat['id']}/replies/{turn['reply']['id']}") as answer:
            for line in answer.iter_lines():
                size += len(line) + 1
                tokens += json.loads(line[6:]).get("n", 1) if line.startswith('data: {"t"') else 0
    assert size / tokens < 60


def test_the_state_names_the_replies_that_are_being_written(slow: LiveServer) -> None:
    chat, turn = slow.chat(FOR_EVER)
    running = {"chat": chat["id"], "message": turn["reply"]["id"]}
    assert running in slow.call("GET", "/api/state")["replies"]
    slow.call("POST", f"/api/chats/{chat['id']}/replies/{turn['reply']['id']}/stop")
    assert running not in slow.call("GET", "/api/state")["replies"]

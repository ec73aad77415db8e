"""The chat routes, over a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.conftest import LiveServer, Start


@pytest.fixture
def chat(shared_server: LiveServer) -> Iterator[dict[str, Any]]:
    made = shared_server.call("POST", "/api/chats", {"title": "A test"})
    yield made
    shared_server.http.delete(f"/api/chats/{made['id']}")


def add(server: LiveServer, chat: dict[str, Any], text: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    body = {"text": text, "parent": parent, "reply": False, **more}
    return server.call("POST", f"/api/chats/{chat['id']}/messages", body)


def test_a_chat_is_made_renamed_deleted_and_brought_back(shared_server: LiveServer, chat: dict[str, Any]) -> None:
    path = f"/api/chats/{chat['id']}"
    changed = shared_server.call("PATCH", path, {"title": "Another name", "system": "Be brief.", "rev": chat["rev"]})
    assert (changed["title"], changed["system"]) == ("Another name", "Be brief.")
    assert "messages" not in changed
    assert shared_server.call("DELETE", path) == {"deleted": chat["id"]}
    shared_server.call("GET", path, status=404)
    assert shared_server.call("POST", f"{path}/restore")["title"] == "Another name"
    assert shared_server.call("GET", path)["system"] == "Be brief."


def test_a_stale_revision_is_a_conflict_and_changes_nothing(shared_server: LiveServer, chat: dict[str, Any]) -> None:
    seen = chat["rev"]
    first = add(shared_server, chat, "from this tab", rev=seen)
    for method, path, body in (
        ("POST", "/messages", {"text": "from a stale tab", "parent": None, "rev": seen, "reply": False}),
        ("POST", f"/messages/{first['message']['id']}/edit", {"text": "x", "rev": seen}),
        ("POST", f"/messages/{first['message']['id']}/regenerate", {"rev": seen}),
        ("PATCH", "", {"title": "x", "rev": seen}),
        ("DELETE", f"/messages/{first['message']['id']}?rev={seen}", None),
        ("POST", "/select", {"leaf": first["message"]["id"], "rev": seen}),
    ):
        error = shared_server.call(method, f"/api/chats/{chat['id']}{path}", body, status=409)["error"]
        assert error["code"] == "conflict"
    now = shared_server.call("GET", f"/api/chats/{chat['id']}")
    assert [node["text"] for node in now["messages"]] == ["from this tab"]
    assert now["rev"] == first["rev"]


def test_an_edit_is_a_sibling_and_both_can_be_selected(shared_server: LiveServer, chat: dict[str, Any]) -> None:
    old = add(shared_server, chat, "first wording")
    new = shared_server.call(
        "POST", f"/api/chats/{chat['id']}/messages/{old['message']['id']}/edit", {"text": "second", "rev": old["rev"]}
    )
    assert new["message"]["parent"] == old["message"]["parent"]
    assert new["reply"] is None
    rev = shared_server.call(
        "POST", f"/api/chats/{chat['id']}/select", {"leaf": old["message"]["id"], "rev": new["rev"]}
    )
    now = shared_server.call("GET", f"/api/chats/{chat['id']}")
    assert (now["leaf"], now["rev"]) == (old["message"]["id"], rev["rev"])
    assert {node["text"] for node in now["messages"]} == {"first wording", "second"}


def test_a_deleted_message_takes_what_follows_and_comes_back_with_it(
    shared_server: LiveServer, chat: dict[str, Any]
) -> None:
    one = add(shared_server, chat, "one")
    add(shared_server, chat, "two", one["message"]["id"])
    path = f"/api/chats/{chat['id']}/messages/{one['message']['id']}"
    gone = shared_server.call("DELETE", path)
    assert gone["removed"] == 2
    assert shared_server.call("GET", f"/api/chats/{chat['id']}")["messages"] == []
    shared_server.call("POST", f"{path}/undelete", {"rev": gone["rev"]})
    assert len(shared_server.call("GET", f"/api/chats/{chat['id']}")["messages"]) == 2


def test_chats_are_listed_last_changed_first_and_found_by_their_words(
    shared_server: LiveServer, chat: dict[str, Any]
) -> None:
    add(shared_server, chat, "the word heliotrope occurs once")
    assert shared_server.call("GET", "/api/chats?limit=1")["chats"][0]["id"] == chat["id"]
    found = shared_server.call("GET", "/api/chats?query=heliotrope")["chats"]
    assert [one["id"] for one in found] == [chat["id"]]
    assert "heliotrope" in found[0]["snippet"]


def test_a_chat_is_exported_as_an_attachment(shared_server: LiveServer, chat: dict[str, Any]) -> None:
    add(shared_server, chat, "<b>Übung</b>")
    for form, expected in (("markdown", "<b>Übung</b>"), ("jsonl", "Übung")):
        answer = shared_server.http.get(f"/api/chats/{chat['id']}/export?as={form}")
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert expected in answer.text
    shared_server.call("GET", f"/api/chats/{chat['id']}/export?as=exe", status=400)


@pytest.mark.parametrize("name", ["nothere12345", "..%2f..%2fetc", "%2e%2e", "a.jsonl", "C:x", "%00", "x" * 3000, "💥"])
def test_a_name_that_is_no_chat_is_not_found_or_refused(shared_server: LiveServer, name: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/export"), ("POST", "/restore")):
        answer = shared_server.http.request(method, f"/api/chats/{name}{path}")
        assert answer.status_code in (400, 404, 405), answer.text
        assert set(answer.json()["error"]) == {"message", "hint", "type", "code", "param", "status"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": 3}, "text"),
        ({}, "text"),
        ({"text": "x", "parent": 7}, "parent"),
        ({"text": "x", "rev": "1"}, "rev"),
        ({"text": "x", "rev": -1}, "rev"),
        ({"text": "x", "role": "tool"}, "role"),
        ({"text": "x", "surprise": 1}, "surprise"),
        ({"text": "x", "reply": "yes"}, "reply"),
        ([1], None),
        ("text", None),
    ],
)
def test_a_wrong_body_is_answered_with_the_field_and_a_hint(
    shared_server: LiveServer, chat: dict[str, Any], body: Any, param: str | None
) -> None:
    error = shared_server.call("POST", f"/api/chats/{chat['id']}/messages", body, status=400)["error"]
    assert error["param"] == param
    assert error["message"].endswith(".")
    assert error["hint"]


def test_a_body_that_is_no_json_is_answered_in_our_shape(shared_server: LiveServer) -> None:
    for body in (b"{", b"", b"nan", b"\xff", b'{"title": "x"}}', b'{"n": ' + b"9" * 5000 + b"}"):
        answer = shared_server.http.post("/api/chats", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (201, 400), answer.text
        if answer.status_code == 400:
            assert answer.json()["error"]["status"] == 400


def test_pages_hear_of_what_others_do(shared_server: LiveServer) -> None:
    with connect(shared_server.base_url.replace("http", "ws") + "/api/events") as socket:
        hello = json.loads(socket.recv(30))
        assert hello["type"] == "hello"
        assert hello["state"]["model"]["model"] == "echo"
        chat = shared_server.call("POST", "/api/chats", {})
        shared_server.call("PATCH", f"/api/chats/{chat['id']}", {"title": "seen by others"})
        shared_server.call("PATCH", "/api/params", {"temperature": 0.33})
        shared_server.call("POST", "/api/params/reset")
        shared_server.call("DELETE", f"/api/chats/{chat['id']}")
        seen: list[dict[str, Any]] = []
        while not any(event.get("kind") == "deleted" for event in seen):
            seen.append(json.loads(socket.recv(30)))
    kinds = [event["kind"] for event in seen if event["type"] == "chat" and event["id"] == chat["id"]]
    assert kinds == ["created", "changed", "deleted"]
    assert [event["values"]["temperature"] for event in seen if event["type"] == "params"] == [0.33, 0.7]


def test_a_page_of_another_site_cannot_open_the_events(shared_server: LiveServer) -> None:
    url = shared_server.base_url.replace("http", "ws") + "/api/events"
    with pytest.raises(Exception, match="403"):
        connect(url, origin="https://evil.example").close()  # type: ignore[arg-type]


def test_the_running_server_refuses_foreign_hosts_and_large_chunked_bodies(shared_server: LiveServer) -> None:
    refused = shared_server.http.get("/api/state", headers={"host": "evil.example"})
    assert refused.status_code == 403

    def pieces() -> Iterator[bytes]:
        yield b'{"title": "'
        for _ in range(21):
            yield b"x" * (1024 * 1024)
        yield b'"}'

    try:
        large = shared_server.http.post("/api/chats", content=pieces(), headers={"content-type": "application/json"})
    except httpx.TransportError:
        return  # the server answered and closed before all was sent, which is as good
    assert large.status_code == 413


def test_a_load_that_makes_no_sense_is_answered_at_once_and_keeps_the_model(shared_server: LiveServer) -> None:
    for body, status, param in (
        ({"name": "nothing-of-this-name"}, 404, "model"),
        ({"name": "echo", "settings": {"no_such_setting": 1}}, 400, "no_such_setting"),
        ({"name": "echo", "loader": "no-such-loader"}, 404, None),
        ({"name": ""}, 400, "name"),
    ):
        error = shared_server.call("POST", "/api/models/load", body, status=status)["error"]
        assert error["param"] == param
    state = shared_server.call("GET", "/api/state")["model"]
    assert (state["model"], state["state"]) == ("echo", "ready")


def test_a_slow_load_is_answered_at_once_can_be_given_up_and_its_progress_is_told(server: Start) -> None:
    live = server()
    slow = {"name": "echo", "settings": {"load_time": 3600.0}}
    with connect(live.base_url.replace("http", "ws") + "/api/events") as socket:
        assert live.http.post("/api/models/load", json=slow).status_code == 202
        seen = [json.loads(socket.recv(30)) for _ in range(3)]
        assert any(event["type"] == "model" and event["status"]["state"] == "starting" for event in seen)
    assert live.call("POST", "/api/models/unload")["state"] == "empty"

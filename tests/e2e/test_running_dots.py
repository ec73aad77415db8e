"""The dots of chats with a running reply: right at once after a reload and after the WebSocket was cut."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, WebSocketRoute, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import ChatPage, Open

pytestmark = pytest.mark.browser
LONG = {"speed": 5.0, "script": "one two three four five six seven eight nine ten " * 100}


def dot(page: ChatPage, chat: str) -> Locator:
    """The dot of a chat's row."""
    return page.page.locator(f'.eh-chat[data-id="{chat}"]').get_by_role("img", name="Generating a reply")


def row(page: ChatPage, chat: str) -> Locator:
    return page.page.locator(f'.eh-chat[data-id="{chat}"]')


def stop(live: LiveServer, chat: dict[str, Any], turn: dict[str, Any]) -> None:
    live.call("POST", f"/api/chats/{chat['id']}/replies/{turn['reply']['id']}/stop", {})


def test_the_dots_of_running_replies_are_there_after_a_reload_and_go_with_the_last_reply(
    chat: Open, live: LiveServer
) -> None:
    live.load_echo(**LONG)
    one, first = live.chat("One chat")
    other, second = live.chat("Another chat")
    again = live.call("POST", f"/api/chats/{one['id']}/messages/{first['reply']['id']}/regenerate", {})
    page = chat()
    expect(dot(page, one["id"])).to_be_visible()
    expect(dot(page, other["id"])).to_be_visible()
    stop(live, other, second)
    expect(dot(page, other["id"])).to_have_count(0)
    stop(live, one, first)  # the chat's other version is still being written
    seen, _ = live.chat("A mark in the line of events")
    expect(dot(page, seen["id"])).to_be_visible()  # so the end was heard before this
    expect(dot(page, one["id"])).to_be_visible()
    page.reload()
    expect(dot(page, one["id"])).to_be_visible()
    expect(row(page, other["id"])).to_be_visible()
    expect(dot(page, other["id"])).to_have_count(0)
    stop(live, one, again)
    expect(dot(page, one["id"])).to_have_count(0)
    live.call("DELETE", f"/api/chats/{seen['id']}")


def test_what_began_and_ended_while_the_line_was_cut_is_right_when_it_is_back(chat: Open, live: LiveServer) -> None:
    live.load_echo(**LONG)
    lines: list[WebSocketRoute] = []
    cut = False

    def connect(socket: WebSocketRoute) -> None:
        lines.append(socket)
        if cut:
            socket.close()
        else:
            socket.connect_to_server()

    page = chat(ready=False)
    page.page.route_web_socket("**/api/events", connect)
    before, first = live.chat("Ends while the line is cut")
    page.open()
    expect(dot(page, before["id"])).to_be_visible()
    cut = True
    lines[0].close()
    expect(page.page.locator(".eh-banner").filter(has_text="Can't reach the server.")).to_be_visible()
    stop(live, before, first)
    after, second = live.chat("Begins while the line is cut")
    cut = False
    expect(dot(page, after["id"])).to_be_visible()
    expect(row(page, before["id"])).to_be_visible()
    expect(dot(page, before["id"])).to_have_count(0)
    lines[-1].send('{"type": "resync", "state": {"replies": []}}')  # a page that did not keep up is told the same way
    expect(dot(page, after["id"])).to_have_count(0)
    lines[-1].send(f'{{"type": "resync", "state": {{"replies": [{{"chat": "{after["id"]}", "message": "x"}}]}}}}')
    expect(dot(page, after["id"])).to_be_visible()
    stop(live, after, second)

"""Two things at once: another chat opened while a message is on its way, two clicks, an answer that comes late."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import ChatPage, Open

pytestmark = pytest.mark.browser
SLOW = {"speed": 25.0, "script": "one two three four five six seven eight nine ten " * 12}


class Held:
    """Requests to `address` wait until `release`."""

    def __init__(self, page: ChatPage, address: str | re.Pattern[str], method: str = "") -> None:
        self.page = page
        self.address = address
        self.method = method
        self.waiting: list[Route] = []
        self.over = False
        page.page.route(address, self._take)

    def _take(self, route: Route) -> None:
        if self.over or (self.method and route.request.method != self.method):
            route.fallback()
        else:
            self.waiting.append(route)

    def wait(self, count: int = 1) -> None:
        """Until so many requests wait here."""
        for _ in range(200):
            if len(self.waiting) >= count:
                return
            self.page.page.wait_for_timeout(25)
        raise AssertionError(f"only {len(self.waiting)} requests to {self.address}")

    def release(self, **fulfil: Any) -> None:
        """Let them go on, or answer them with these values."""
        self.over = True
        for route in self.waiting:
            if fulfil:
                route.fulfill(**fulfil)
            else:
                route.continue_()
        self.waiting.clear()


SEND = re.compile(r"/api/chats/[\w-]+/messages$")


def texts(live: LiveServer, chat: str) -> list[str]:
    """What the server has of a chat."""
    return [node["text"] for node in live.call("GET", f"/api/chats/{chat}")["messages"] if node["role"] == "user"]


def test_a_message_on_its_way_stays_in_its_chat_when_another_one_is_opened(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Alpha began here")
    alpha = page.chat_id()
    page.page.locator(".eh-new").click()
    page.ask("Beta began here")
    beta = page.chat_id()
    held = Held(page, SEND)
    page.send("Meant for beta")
    held.wait()
    page.page.locator(".eh-chat-open", has_text="Alpha began here").click()
    expect(page.own.first).to_contain_text("Alpha began here")
    held.release()
    page.page.wait_for_timeout(600)
    expect(page.own).to_have_count(1)
    expect(page.composer).to_have_value("")
    expect(page.page.get_by_text("Not sent")).to_be_hidden()
    assert texts(live, alpha) == ["Alpha began here"]
    assert texts(live, beta) == ["Beta began here", "Meant for beta"]
    page.page.locator(".eh-chat-open", has_text="Beta began here").click()
    expect(page.own.last).to_contain_text("Meant for beta")
    expect(page.composer).to_have_value("")


def test_a_message_that_fails_goes_back_to_the_chat_it_was_written_in(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Alpha again")
    page.page.locator(".eh-new").click()
    page.ask("Beta again")
    held = Held(page, SEND)
    page.send("Not to be lost")
    held.wait()
    page.page.locator(".eh-chat-open", has_text="Alpha again").first.click()
    expect(page.own.first).to_contain_text("Alpha again")
    page.write("A draft for alpha")
    held.release(status=507, json={"error": {"message": "The disk is full.", "hint": "", "code": "storage_full"}})
    expect(page.page.get_by_text("The disk is full.").first).to_be_visible()
    expect(page.composer).to_have_value("A draft for alpha")
    page.page.locator(".eh-chat-open", has_text="Beta again").first.click()
    expect(page.composer).to_have_value("Not to be lost")


def test_a_new_chat_begun_while_the_first_message_is_on_its_way_stays_empty(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    held = Held(page, re.compile(r"/api/chats$"), "POST")
    page.send("The very first message")
    held.wait()
    page.page.locator(".eh-new").click()
    expect(page.own).to_have_count(0)
    held.release()
    page.page.wait_for_timeout(500)
    expect(page.own).to_have_count(0)
    expect(page.composer).to_have_value("")
    expect(page.page.get_by_text("Not sent")).to_be_hidden()
    page.page.locator(".eh-chat-open", has_text="The very first message").click()
    expect(page.own.last).to_contain_text("The very first message")
    expect(page.replies.last).to_contain_text("The very first message")


def test_the_address_names_the_chat_that_is_shown_though_another_answers_late(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Slow one")
    slow = page.chat_id()
    page.page.locator(".eh-new").click()
    page.ask("Quick one")
    quick = page.chat_id()
    page.page.locator(".eh-new").click()
    expect(page.own).to_have_count(0)
    held = Held(page, re.compile(f"/api/chats/{slow}$"))
    page.page.locator(f'[data-id="{slow}"] .eh-chat-open').click()
    held.wait()
    page.page.locator(f'[data-id="{quick}"] .eh-chat-open').click()
    expect(page.own.first).to_contain_text("Quick one")
    held.release()
    page.page.wait_for_timeout(400)
    expect(page.own.first).to_contain_text("Quick one")
    assert page.chat_id() == quick


def test_two_clicks_on_regenerate_make_one_new_version(chat: Open, live: LiveServer) -> None:
    live.load_echo(**SLOW)
    page = chat()
    page.send("Once, please.")
    expect(page.replies.last).to_contain_text("two")
    page.button("Stop").click()
    page.finished()
    page.button("Regenerate").evaluate("(button) => { button.click(); button.click(); }")
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    page.page.wait_for_timeout(400)
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    page.page.keyboard.press("Escape")
    page.finished()


def test_stop_and_regenerate_at_once_never_leave_two_replies_running(chat: Open, live: LiveServer) -> None:
    live.load_echo(**SLOW)
    page = chat()
    page.send("Quick hands.")
    expect(page.replies.last).to_contain_text("two")
    name = page.chat_id()
    page.page.keyboard.press("Escape")
    presses = 0
    while presses < 8 or (presses < 2000 and not version_of_two(page).is_visible()):  # as long as the stop may take
        page.page.keyboard.press("Control+Enter")
        states = [node["state"] for node in live.call("GET", f"/api/chats/{name}")["messages"]]
        assert states.count("running") <= 1
        presses += 1
    expect(version_of_two(page)).to_be_visible()
    page.button("Stop").click()
    page.finished()
    states = [node["state"] for node in live.call("GET", f"/api/chats/{name}")["messages"]]
    assert states == ["done", "stopped", "stopped"]


def version_of_two(page: ChatPage) -> Locator:
    """The arrows of the second of two versions."""
    return page.page.get_by_role("group", name="Message version 2 of 2")


def test_deleting_a_reply_while_it_is_written_can_be_undone(chat: Open, live: LiveServer) -> None:
    live.load_echo(**SLOW)
    page = chat()
    page.send("Write.")
    expect(page.replies.last).to_contain_text("three")
    page.own.last.hover()
    page.own.last.get_by_role("button", name="More actions").click()
    page.page.get_by_role("menuitem", name="Delete 2 messages").click()
    expect(page.own).to_have_count(0)
    page.finished()
    page.button("Undo").click()
    expect(page.own).to_have_count(1)
    expect(page.replies.last).to_contain_text("one two three")


def test_undo_of_a_delete_works_after_the_chat_has_changed_elsewhere(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(ready=False)
    page.page.route_web_socket("**/api/events", lambda socket: None)  # hears nothing of what happens elsewhere
    page.open()
    page.ask("Keep this")
    page.ask("Delete this")
    page.own.last.hover()
    page.own.last.get_by_role("button", name="More actions").click()
    page.page.get_by_role("menuitem", name="Delete 2 messages").click()
    expect(page.own).to_have_count(1)
    live.call("PATCH", f"/api/chats/{page.chat_id()}", {"title": "Renamed elsewhere"})
    page.button("Undo").click()
    expect(page.own).to_have_count(2)


def test_a_chat_that_could_not_be_deleted_is_still_there(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Hard to delete")
    held = Held(page, re.compile(r"/api/chats/[\w-]+$"), "DELETE")
    page.page.locator(".eh-chat-open[aria-current]").focus()
    page.page.keyboard.press("Delete")
    held.wait()
    held.release(status=507, json={"error": {"message": "The disk is full.", "hint": "", "code": "storage_full"}})
    expect(page.page.get_by_text("The disk is full.").first).to_be_visible()
    expect(page.page.locator(".eh-chat-open", has_text="Hard to delete")).to_be_visible()
    expect(page.own.last).to_contain_text("Hard to delete")


def test_a_system_prompt_is_saved_to_the_chat_it_was_typed_in(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("A chat with a prompt")
    one = page.chat_id()
    page.page.keyboard.press("Control+.")
    box = page.page.get_by_role("textbox", name="System prompt")
    box.fill("Only for the first chat.")
    page.page.keyboard.press("Control+Shift+O")
    expect(page.own).to_have_count(0)
    page.page.wait_for_timeout(1200)
    expect(box).to_have_value("")
    assert live.call("GET", f"/api/chats/{one}")["system"] == "Only for the first chat."
    assert "#/chat/" not in page.page.url


def test_a_system_prompt_that_could_not_be_saved_is_not_lost(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Something first")
    page.page.keyboard.press("Control+.")
    box = page.page.get_by_role("textbox", name="System prompt")
    held = Held(page, re.compile(r"/api/chats/[\w-]+$"), "PATCH")
    box.fill("Typed with care.")
    held.wait()
    held.release(status=507, json={"error": {"message": "The disk is full.", "hint": "", "code": "storage_full"}})
    expect(page.page.get_by_text("The disk is full.").first).to_be_visible()
    page.ask("And now a message")
    expect(box).to_have_value("Typed with care.")


def test_older_chats_stay_listed_when_something_changes(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    for number in range(60):
        live.call("POST", "/api/chats", {"title": f"Old chat {number}"})
    page = chat()
    page.button("Show older chats").click()
    expect(page.page.locator(".eh-chat", has_text=re.compile("^Old chat 5$")).first).to_be_attached()
    before = page.page.locator(".eh-chat").count()
    assert before > 55
    page.ask("A new message")
    page.page.wait_for_timeout(600)
    assert page.page.locator(".eh-chat").count() >= before


def test_an_open_editor_stays_when_the_same_message_is_saved_in_another_tab(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    first = chat()
    first.ask("Written once")
    second = chat(beside=first, ready=False).open(first.chat_id())
    for page, text in ((second, "Typed in the second tab"), (first, "Saved in the first tab")):
        page.own.first.hover()
        page.own.first.get_by_role("button", name="Edit", exact=True).click()
        page.page.locator(".eh-edit").fill(text)
    first.button("Save").click()
    expect(first.page.locator(".eh-edit")).to_have_count(0)
    expect(second.page.locator(".eh-edit-notice")).to_be_visible()
    expect(second.page.locator(".eh-edit")).to_have_value("Typed in the second tab")
    second.button("Save").click()
    expect(second.own.first).to_contain_text("Typed in the second tab")
    assert texts(live, first.chat_id()) == ["Written once", "Saved in the first tab", "Typed in the second tab"]

"""The page's WebSocket: one a page, whatever tabs are open, and what happens when it or the first answers fail."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import Open

pytestmark = pytest.mark.browser


def test_a_page_has_one_websocket_whatever_tabs_are_visited(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(ready=False)
    lines: list[str] = []
    page.page.on("websocket", lambda socket: lines.append(socket.url))
    page.open()
    for name in ("Model", "Parameters", "Settings", "Extensions", "Chat"):
        page.page.get_by_role("tab", name=name).click()
        page.page.wait_for_timeout(400)
    assert len(lines) == 1
    page.page.get_by_role("tab", name="Model").click()
    expect(page.page.locator("#eh-model-detail").get_by_text("Loaded with echo")).to_be_visible()
    live.call("POST", "/api/models/unload", {})
    expect(page.page.locator("#eh-model-detail").get_by_text("No model loaded")).to_be_visible()


def test_a_page_whose_first_questions_failed_asks_again(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    first = chat()
    first.ask("Shown in spite of it")
    name = first.chat_id()
    page = chat(ready=False)
    failed: list[str] = []

    def fail_once(route: Route) -> None:
        path = re.sub(r"[?#].*", "", route.request.url)
        if path in failed:
            route.fallback()
        else:
            failed.append(path)
            route.abort()

    page.page.route(re.compile(r"/api/(?!events)"), fail_once)
    page.open(name)
    expect(page.page.locator(".eh-chat", has_text="Shown in spite of it").first).to_be_visible()
    expect(page.own.first).to_contain_text("Shown in spite of it")
    assert len(failed) >= 3


def test_the_list_of_a_new_installation_says_what_will_stand_there(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(ready=False)
    page.page.route(re.compile(r"/api/chats\?"), lambda route: route.fulfill(json={"chats": []}))
    page.open()
    expect(page.page.get_by_text("No chats yet")).to_be_visible()
    page.page.get_by_role("searchbox", name="Search chats").fill("nothing")
    expect(page.page.get_by_text("No matching chats")).to_be_visible()


def test_a_load_can_be_cancelled_by_the_mouse_while_its_progress_moves(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.page.get_by_role("tab", name="Model").click()
    expect(page.page.locator("#eh-unload")).to_have_text("Unload")
    live.call("POST", "/api/models/load", {"name": "echo", "settings": {"load_time": 20.0}})
    button = page.page.locator("#eh-unload")
    expect(button).to_have_text("Cancel loading")
    for area in (button, page.page.locator("#eh-models .eht-model-row").first):
        area.hover()
        area.evaluate("(node) => { node.dataset.same = 'yes'; }")
        page.page.wait_for_timeout(1500)
        expect(area).to_have_attribute("data-same", "yes")
    page.page.get_by_role("tab", name="Chat").click()
    page.page.locator(".eh-topbar .eh-model").click()
    stop = page.page.get_by_role("dialog", name="Models").get_by_role("button", name="Cancel loading")
    page.page.wait_for_timeout(800)  # the list is looked at once more when it opens
    stop.evaluate("(node) => { node.dataset.same = 'yes'; }")
    page.page.wait_for_timeout(1500)
    expect(stop).to_have_attribute("data-same", "yes")
    stop.click()
    expect(page.page.locator(".eh-topbar .eh-model-state")).not_to_have_text(re.compile("loading"))


def test_a_failed_load_is_announced_once(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.page.get_by_role("tab", name="Model").click()
    expect(page.page.locator("#eh-unload")).to_be_visible()
    # 202 or, when it fails at once, the reason itself: it is what the page says that counts
    live.http.post("/api/models/load", json={"name": "echo", "settings": {"load_error": "out of memory"}})
    alert = page.page.locator("#eh-model-detail .eht-alert")
    expect(alert).to_contain_text("out of memory")
    alert.evaluate("(node) => { node.dataset.same = 'yes'; }")
    page.page.locator("#eh-models").get_by_role("button", name="Rescan folder").click()
    page.page.wait_for_timeout(500)
    expect(alert).to_have_attribute("data-same", "yes")
    live.load_echo()


def test_the_seconds_until_the_next_try_are_not_an_alert(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(ready=False)
    page.page.route_web_socket("**/api/events", lambda socket: socket.close())
    page.open()
    banner = page.page.locator(".eh-banner").filter(has_text="Can't reach the server.")
    expect(banner).to_be_visible()
    expect(page.page.get_by_role("alert").filter(has_text="Can't reach the server.")).to_be_visible()
    expect(page.page.get_by_role("alert").filter(has_text="Retrying")).to_have_count(0)
    expect(banner).to_contain_text("Retrying")


def test_an_export_that_fails_leaves_the_page_and_says_why(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("To be exported")
    with page.page.expect_download() as download:
        page.button("More").click()
        page.page.get_by_role("menuitem", name="Export as Markdown").click()
    assert download.value.suggested_filename.endswith(".md")
    error = {"error": {"message": "The chat could not be read.", "hint": "", "code": "storage_error"}}
    page.page.route("**/export?*", lambda route: route.fulfill(status=500, json=error))
    page.button("More").click()
    page.page.get_by_role("menuitem", name="Export as Markdown").click()
    expect(page.page.get_by_text("The chat could not be read.")).to_be_visible()
    expect(page.own.last).to_contain_text("To be exported")


def test_parameters_are_fetched_again_after_a_failure(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.page.route("**/api/params", lambda route: route.abort(), times=1)
    page.page.keyboard.press("Control+.")
    expect(page.page.locator(".eh-toast", has_text="Can't reach the server.")).to_be_visible()
    page.page.keyboard.press("Control+.")
    page.page.keyboard.press("Control+.")
    expect(page.page.get_by_role("spinbutton", name="Seed")).to_be_visible()

"""Versions of a reply: written again in other ways, and turned by a finger."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import PHONE, ChatPage, Open

pytestmark = pytest.mark.browser
CODE = "Some text that stands above the code and is long enough.\n\n```python\nx = " + "1 + " * 60 + "1\n```\n"


def version(page: ChatPage, at: int, of: int) -> Locator:
    return page.page.get_by_role("group", name=f"Message version {at} of {of}")


def swipe(page: ChatPage, where: Locator, across: int, along: int = 0) -> None:
    """Draw a finger over the middle of `where`, as the browser gets it from a touch screen."""
    box = where.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + min(box["height"], 60) / 2
    touch = page.page.context.new_cdp_session(page.page)

    def send(kind: str, points: list[dict[str, Any]]) -> None:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", [{"x": x, "y": y}])
    for step in range(1, 9):
        send("touchMove", [{"x": x + across * step / 8, "y": y + along * step / 8}])
        page.page.wait_for_timeout(16)
    send("touchEnd", [])
    page.page.wait_for_timeout(250)


def test_a_reply_is_written_again_by_another_model_which_is_named(chat: Open, live: LiveServer) -> None:
    live.load_echo(tokens=8)
    page = chat()
    page.ask("Who are you?")
    page.button("Regenerate options").click()
    menu = page.page.get_by_role("menu", name="Regenerate")
    expect(menu.get_by_role("menuitem")).to_have_text(
        ["RegenerateCtrl+Enter", "With a different model…", "With a different preset…"]
    )
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    models = page.page.get_by_role("menu", name="Regenerate with model")
    expect(models.get_by_role("menuitemradio", name="echo")).to_have_attribute("aria-checked", "true")
    with page.page.expect_request("**/regenerate") as sent:
        models.get_by_role("menuitemradio", name="echo").click()
    assert sent.value.post_data_json["model"] == "echo"
    expect(version(page, 2, 2)).to_be_visible()
    page.finished()
    page.button("Regenerate options").click()
    page.page.get_by_role("menuitem", name="Regenerate").click()
    expect(version(page, 3, 3)).to_be_visible()
    page.finished()


def test_a_reply_is_written_again_with_another_preset_once(chat: Open, live: LiveServer) -> None:
    live.load_echo(tokens=8)
    live.call("PUT", "/api/presets/Wild%20one")
    live.call("POST", "/api/params/reset", {})
    before = live.call("GET", "/api/params")["preset"]
    page = chat()
    page.ask("Say it differently.")
    page.button("Regenerate options").click()
    page.page.get_by_role("menuitem", name="With a different preset…").click()
    with page.page.expect_request("**/regenerate") as sent:
        page.page.get_by_role("menuitemradio", name="Wild one").click()
    assert sent.value.post_data_json["preset"] == "Wild one"
    expect(version(page, 2, 2)).to_be_visible()
    page.finished()
    assert live.call("GET", "/api/params")["preset"] == before
    page.page.route(
        "**/api/presets", lambda route: route.fulfill(json={"presets": [{"name": "Gone", "shipped": True}]})
    )
    page.button("Regenerate options").click()
    page.page.get_by_role("menuitem", name="With a different preset…").click()
    page.page.get_by_role("menuitemradio", name="Gone").click()
    expect(page.page.get_by_text("There is no preset called 'Gone'.")).to_be_visible()
    expect(version(page, 2, 2)).to_be_visible()


def test_versions_by_two_models_say_which_is_whose(chat: Open, live: LiveServer) -> None:
    live.load_echo(tokens=8)
    page = chat()
    page.ask("Compare.")
    page.button("Regenerate").click()
    expect(version(page, 2, 2)).to_be_visible()
    page.finished()
    name = page.chat_id()
    expect(page.replies.last.locator(".eh-by")).to_be_hidden()
    told = live.call("GET", f"/api/chats/{name}")
    told["messages"][-1]["model"] = "Another-7B <b>Q4</b>"
    page.page.route(f"**/api/chats/{name}", lambda route: route.fulfill(json=told))
    page.reload()
    expect(page.replies.last.locator(".eh-by")).to_have_text("Another-7B <b>Q4</b>")
    page.button("Previous version").click()
    expect(page.replies.last.locator(".eh-by")).to_have_text("echo")


def test_a_finger_across_a_reply_turns_its_versions_and_scrolling_does_not(chat: Open, live: LiveServer) -> None:
    live.load_echo(script=CODE)
    page = chat(size=PHONE, touch=True)
    page.write("Code, please. " * 90)
    page.button("Send").tap()
    page.finished()
    for count in (2, 3):
        page.button("Regenerate").tap()
        expect(version(page, count, count)).to_be_visible()
        page.finished()
    words = page.replies.last.locator(".eh-md p").first
    swipe(page, words, 150)
    expect(version(page, 2, 3)).to_be_visible()
    swipe(page, words, -150)
    expect(version(page, 3, 3)).to_be_visible()
    swipe(page, words, -150)  # past the end: nothing, least of all a new reply
    expect(version(page, 3, 3)).to_be_visible()
    swipe(page, words, 40)  # too short
    swipe(page, words, 120, 110)  # neither across nor along
    expect(version(page, 3, 3)).to_be_visible()
    code = page.replies.last.locator(".eh-code pre")
    swipe(page, code, -150)
    assert code.evaluate("(pre) => pre.scrollLeft") > 50
    expect(version(page, 3, 3)).to_be_visible()
    swipe(page, code, 100)
    expect(version(page, 3, 3)).to_be_visible()
    log = page.page.locator(".eh-log")
    page.page.wait_for_timeout(500)  # what the swipes began has come to rest
    top = log.evaluate("(log) => (log.scrollTop = log.scrollHeight, log.scrollTop)")
    assert top > 30
    swipe(page, words, 5, 200)
    assert log.evaluate("(log) => log.scrollTop") < top - 20
    expect(version(page, 3, 3)).to_be_visible()
    assert page.replies.last.evaluate("(article) => article.style.translate") == ""

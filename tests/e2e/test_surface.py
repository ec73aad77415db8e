"""First screen, list of chats, panels, phone, keyboard, themes."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import PHONE, Open

pytestmark = pytest.mark.browser
COLUMNS = range(9)
WIDE = "\n\n".join((
    "A very_long_word_" + "without_a_break_" * 12 + " and `" + "code" * 30 + "`",
    "```python\nx = " + "1 + " * 60 + "1\n```",
    "\n".join((
        "".join(f"| column {n} " for n in COLUMNS) + "|", "|---" * len(COLUMNS) + "|", "| value " * len(COLUMNS) + "|",
    )),
))  # fmt: skip
FROM_END = """() => {
    const log = document.querySelector('.eh-log');
    return log.scrollHeight - log.clientHeight - log.scrollTop;
}"""
UNNAMED = """() => [...document.querySelectorAll('.eh button')]
    .filter((button) => button.offsetWidth && !button.ariaLabel && !button.textContent.trim())
    .map((button) => button.outerHTML)"""


def overflow(page: Page) -> int:
    """Pixels the page can be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def test_without_a_model_the_first_screen_offers_three_ways_and_echo_works(chat: Open, live: LiveServer) -> None:
    live.call("POST", "/api/models/unload", {})
    page = chat()
    expect(page.page.get_by_role("heading", name="Welcome to Enginehouse")).to_be_visible()
    expect(page.page.locator(".eh-first .eh-path").first).to_have_text(str(live.user_data / "models"))
    expect(page.page.get_by_text("python3 start.py")).to_be_visible()
    page.button("Rescan folder").click()
    expect(page.page.get_by_text("No models found yet.")).to_be_visible()
    page.button("Start echo engine").click()
    expect(page.page.get_by_text("It is for trying things out, not a language model.")).to_be_visible()
    page.page.locator(".eh-starter").first.click()
    expect(page.composer).to_have_value(re.compile("refrigerator"))
    expect(page.page.get_by_text("Everything stays on this machine").first).to_be_visible()


def test_chats_are_searched_renamed_deleted_and_brought_back(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("The wombat digs at night")
    drawer = page.page.get_by_role("navigation", name="Chats")
    row = drawer.get_by_role("listitem").filter(has_text="wombat")
    row.hover()
    row.get_by_role("button", name=re.compile("Actions for")).click()
    page.page.get_by_role("menuitem", name="Rename").click()
    page.page.get_by_role("textbox", name="Name").fill("Burrowing animals")
    page.page.keyboard.press("Enter")
    named = drawer.get_by_role("listitem").filter(has_text="Burrowing animals")
    expect(named).to_be_visible()
    drawer.get_by_role("searchbox").fill("wombat")
    expect(drawer.get_by_role("listitem")).to_have_count(1)
    expect(named).to_be_visible()
    drawer.get_by_role("searchbox").fill("")
    named.hover()
    named.get_by_role("button", name=re.compile("Actions for")).click()
    page.page.get_by_role("menuitem", name="Delete").click()
    expect(named).to_have_count(0)
    expect(page.own).to_have_count(0)
    page.button("Undo").click()
    expect(named).to_be_visible()
    expect(page.own.last).to_contain_text("wombat")


def test_at_390_px_nothing_scrolls_sideways_and_enter_makes_a_line(chat: Open, live: LiveServer) -> None:
    live.load_echo(script=WIDE)
    page = chat(size=PHONE, touch=True)
    assert overflow(page.page) == 0
    expect(page.composer).not_to_be_focused()  # it would bring up the keyboard unasked
    page.write("First line")
    page.composer.press("Enter")
    page.composer.type("second line")
    expect(page.composer).to_have_value("First line\nsecond line")
    page.button("Send").tap()
    page.finished()
    expect(page.replies.last.locator(".eh-table")).to_be_visible()
    assert overflow(page.page) == 0
    assert page.page.locator(".eh-log").evaluate("(log) => log.scrollWidth <= log.clientWidth")
    page.button("Chats").tap()
    expect(page.page.get_by_role("navigation", name="Chats")).to_be_in_viewport()
    page.button("Close chat list").tap()
    page.button("Parameters").tap()
    expect(page.page.get_by_role("complementary", name="Parameters")).to_be_in_viewport()
    assert overflow(page.page) == 0
    page.button("Close parameters").tap()
    small = page.page.evaluate(
        "[...document.querySelectorAll('.eh-topbar button, .eh-composer button')].filter((b) => b.offsetWidth)"
        ".filter((b) => b.offsetHeight < 44 || b.offsetWidth < 40).map((b) => b.ariaLabel)"
    )
    assert small == []
    box = page.page.locator(".eh-composer").bounding_box()
    assert box
    assert box["y"] + box["height"] <= PHONE[1] + 1


def test_everything_can_be_done_with_the_keyboard(chat: Open, live: LiveServer) -> None:
    live.load_echo(tokens=8)
    page = chat()
    keys = page.page.keyboard
    expect(page.composer).to_be_focused()
    keys.type("Hello")
    keys.press("Enter")
    expect(page.replies).to_have_count(1)
    page.finished()
    keys.press("Control+Enter")
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    page.finished()
    keys.press("ArrowLeft")
    expect(page.page.get_by_role("group", name="Message version 1 of 2")).to_be_visible()
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    expect(page.page.get_by_role("group", name="Message version 3 of 3")).to_be_visible()
    page.finished()
    keys.press("ArrowUp")
    expect(page.page.get_by_role("textbox", name="Edit your message")).to_be_focused()
    keys.press("Escape")
    expect(page.page.get_by_role("textbox", name="Edit your message")).to_have_count(0)
    keys.press("Shift+Escape")
    expect(page.composer).to_be_focused()
    keys.press("F6")
    expect(page.replies.last).to_be_focused()
    keys.press("ArrowUp")
    expect(page.own.last).to_be_focused()
    keys.press("F6")
    keys.press("Control+b")
    expect(page.page.get_by_role("navigation", name="Chats")).to_be_hidden()
    keys.press("Control+k")
    expect(page.page.get_by_role("searchbox", name="Search chats")).to_be_focused()
    keys.press("Control+.")
    expect(page.page.get_by_role("complementary", name="Parameters")).to_be_visible()
    keys.press("Escape")
    expect(page.page.get_by_role("complementary", name="Parameters")).to_be_hidden()
    keys.press("Control+m")
    expect(page.page.get_by_role("combobox", name="Search models")).to_be_focused()
    keys.press("Escape")
    keys.press("Control+/")
    expect(page.page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    keys.press("Escape")
    keys.press("Control+Shift+O")
    expect(page.own).to_have_count(0)
    expect(page.composer).to_be_focused()


def test_shortcuts_can_be_switched_off(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.page.keyboard.press("Control+/")
    page.page.get_by_role("checkbox", name="Enable keyboard shortcuts").uncheck()
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("Control+b")
    expect(page.page.get_by_role("navigation", name="Chats")).to_be_visible()
    expect(page.ask("Enter still sends")).to_contain_text("Enter still sends")


def test_the_model_picker_loads_and_unloads(chat: Open, live: LiveServer) -> None:
    live.call("POST", "/api/models/unload", {})
    page = chat()
    page.button("Choose a model").click()
    page.page.get_by_role("combobox", name="Search models").fill("echo")
    page.page.keyboard.press("Enter")
    expect(page.page.locator(".eh-topbar .eh-model-state")).to_have_text("ready")
    page.page.locator(".eh-topbar .eh-model").click()
    page.page.get_by_role("dialog", name="Models").get_by_role("button", name="Unload").click()
    expect(page.page.locator(".eh-topbar .eh-model")).to_contain_text("Choose a model")


def test_a_parameter_changed_in_the_drawer_is_saved_and_seen_by_another_tab(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    one = chat()
    two = chat()
    for page in (one, two):
        page.page.keyboard.press("Control+.")
        expect(page.page.get_by_role("spinbutton", name="Seed")).to_be_visible()
    one.page.get_by_role("spinbutton", name="Seed").fill("42")
    expect(two.page.get_by_role("spinbutton", name="Seed")).to_have_value("42")
    assert live.call("GET", "/api/params")["values"]["seed"] == 42
    live.call("POST", "/api/params/reset", {})
    expect(one.page.get_by_role("slider").first).to_be_visible()


def test_a_system_prompt_is_part_of_the_chat(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.page.keyboard.press("Control+.")
    page.page.get_by_role("textbox", name="System prompt").fill("Answer in rhyme.")
    page.ask("Hello")
    page.reload()
    expect(page.page.get_by_role("textbox", name="System prompt")).to_have_value("Answer in rhyme.")


def test_light_and_dark_follow_the_system_and_the_choice_made_here(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    ground = "getComputedStyle(document.querySelector('.eh')).backgroundColor"
    page = chat(dark=True)
    dark = page.page.evaluate(ground)
    page.button("More").click()
    page.page.get_by_role("menuitemradio", name="Light").click()
    page.page.wait_for_function(f"(dark) => {ground} !== dark", arg=dark)
    light = page.page.evaluate(ground)
    page.reload()
    page.page.wait_for_function(f"(light) => {ground} === light", arg=light)
    expect(page.page.locator("body")).not_to_have_class(re.compile(r"\bdark\b"))


def test_the_log_is_not_live_and_a_hidden_status_says_what_happens(chat: Open, live: LiveServer) -> None:
    live.load_echo(speed=5.0, script="Some words to be written out slowly, one by one, so there is time.")
    page = chat()
    page.send("Go.")
    status = page.page.locator(".eh > .eh-sr[role=status]")
    expect(status).to_have_text("Generating a reply.")
    expect(page.page.get_by_role("log")).to_have_attribute("aria-live", "off")
    page.finished()
    expect(status).to_have_text("Reply finished.")
    expect(page.page.get_by_role("article", name="Reply from echo")).to_be_visible()
    assert page.page.evaluate(UNNAMED) == []


def test_the_reader_who_scrolled_up_is_left_alone(chat: Open, live: LiveServer) -> None:
    live.load_echo(speed=150.0, script="A line of text that is long enough to fill some room.\n\n" * 400)
    page = chat()
    page.send("Write a lot.")
    expect(page.replies.last.locator("p")).not_to_have_count(0)
    place = "document.querySelector('.eh-log').scrollTop"
    page.page.wait_for_function(f"{place} > 600")
    page.page.wait_for_function(f"({FROM_END})() < 60")
    page.page.mouse.move(700, 400)
    page.page.mouse.wheel(0, -300)
    page.page.wait_for_function(f"({FROM_END})() > 200")
    page.page.wait_for_timeout(200)
    stays = page.page.evaluate(place)
    long = len(page.replies.last.inner_text())
    page.page.wait_for_function(f"document.querySelector('.eh-log').innerText.length > {long + 300}")
    assert abs(page.page.evaluate(place) - stays) < 3
    page.button("Jump to latest message").click()
    page.page.wait_for_function(f"{place} > {stays} + 100")
    page.page.keyboard.press("Escape")
    page.finished()


def test_the_browsers_tab_is_called_as_the_chat(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    expect(page.page).to_have_title("Enginehouse")
    page.ask("Questions about lighthouses")
    expect(page.page).to_have_title("Questions about lighthouses · Enginehouse")
    page.page.locator(".eh-new").click()
    expect(page.page).to_have_title("Enginehouse")


def test_long_names_and_errors_stay_on_a_phones_screen(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    state = live.call("GET", "/api/state")
    state["model"]["model"] = "A-model-with-a-very-long-name_" * 5
    page = chat(size=PHONE, touch=True, ready=False)
    page.page.route_web_socket(
        "**/api/events", lambda socket: socket.send(json.dumps({"type": "hello", "state": state}))
    )
    page.page.route("**/api/state", lambda route: route.fulfill(json=state))
    page.open()
    expect(page.page.locator(".eh-model-name")).to_contain_text("A-model-with")
    long = {"error": {"message": "No " + "luck_" * 400, "hint": "Try again. " * 200, "code": "x"}}
    page.page.route("**/api/presets", lambda route: route.fulfill(status=500, json=long))
    page.button("Parameters").tap()
    toast = page.page.locator(".eh-toast")
    expect(toast).to_be_visible()
    box = toast.bounding_box()
    assert box
    assert box["y"] > 0
    assert box["y"] + box["height"] < PHONE[1]
    assert overflow(page.page) == 0
    for button in page.page.locator(".eh-topbar > button").all():
        place = button.bounding_box()
        assert place is None or place["x"] + place["width"] <= PHONE[0]

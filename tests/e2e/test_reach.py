"""Reaching everything: by keyboard, with a screen reader, an input method, a finger, from right to left."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import PHONE, Open

pytestmark = pytest.mark.browser
THOUGHT = "<think>\nLet me see.\n</think>\n\nHere:\n\n```python\nprint(1)\n```\n"
SMALL = """async () => {
    const moving = document.getAnimations().filter((one) => one.effect.getComputedTiming().iterations === 1);
    await Promise.all(moving.map((one) => one.finished.catch(() => null)));
    return [...document.querySelectorAll('button, summary, input, select, textarea, [role=tab], [role=option]')]
        .filter((one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
        .filter((one) => !one.closest('[inert], .eh-sr, .overflow-menu, .eh-write, [type=range]'))
        .map((one) => [one, (one.type === 'checkbox' && one.closest('.eh-param') || one).getBoundingClientRect()])
        .filter(([one, box]) => box.height < 40 || box.width < 36)
        .map(([one, box]) => `${one.className} ${one.ariaLabel ?? one.textContent} ${box.width} x ${box.height}`);
}"""
BESIDE = """() => [...document.querySelectorAll('[role=tabpanel] :is(button, input, label, select, textarea)')]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().width > 0)
    .filter((one) => one.getBoundingClientRect().right > innerWidth || one.getBoundingClientRect().left < 0)
    .map((one) => one.id || one.ariaLabel || one.className)"""
RTL = "هذا مثال على الشيفرة:\n\n```python\nx = 1\nreturn x\n```\n\n$$a = b + c$$\n\nPlain English here.\n"
COPIES = "document.addEventListener('copy', () => { window.copied = document.activeElement.value; })"
SAFARI_ENTER = """() => document.activeElement.dispatchEvent(
    new KeyboardEvent('keydown', { key: 'Enter', keyCode: 229, bubbles: true, cancelable: true }))"""


def composing(page: Page, key: str) -> None:
    """A key an input method takes for itself while a word is being composed."""
    page.evaluate(
        """(key) => document.activeElement.dispatchEvent(
            new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, isComposing: true }))""",
        key,
    )


def test_enter_that_ends_a_composition_does_nothing_else(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("The first chat")
    page.page.locator(".eh-new").click()
    expect(page.own).to_have_count(0)
    page.write("にほん")
    composing(page.page, "Enter")
    # Safari tells of the end of a composition first, and of its Enter with the code 229 after it.
    page.page.evaluate(SAFARI_ENTER)
    expect(page.composer).to_have_value("にほん")
    page.page.get_by_role("searchbox", name="Search chats").focus()
    composing(page.page, "Enter")
    composing(page.page, "ArrowDown")
    expect(page.page.get_by_role("searchbox", name="Search chats")).to_be_focused()
    page.page.wait_for_timeout(300)
    expect(page.own).to_have_count(0)
    page.page.keyboard.press("Control+m")
    picker = page.page.get_by_role("combobox", name="Search models")
    expect(picker).to_be_focused()
    composing(page.page, "Enter")
    composing(page.page, "Escape")
    expect(picker).to_be_visible()


def test_the_focus_stays_at_the_arrow_that_was_pressed(chat: Open, live: LiveServer) -> None:
    live.load_echo(tokens=6)
    page = chat()
    page.ask("Versions, please.")
    for count in (2, 3):
        page.button("Regenerate").click()
        expect(page.page.get_by_role("group", name=f"Message version {count} of {count}")).to_be_visible()
        page.finished()
    page.button("Previous version").focus()
    page.page.keyboard.press("Enter")
    expect(page.page.get_by_role("group", name="Message version 2 of 3")).to_be_visible()
    expect(page.button("Previous version")).to_be_focused()
    page.page.keyboard.press("Enter")
    expect(page.page.get_by_role("group", name="Message version 1 of 3")).to_be_visible()
    expect(page.button("Next version")).to_be_focused()  # there is no way back from the first


def test_the_focus_stays_in_the_conversation_after_a_delete_and_a_regenerate(chat: Open, live: LiveServer) -> None:
    live.load_echo(tokens=6)
    page = chat()
    page.ask("One")
    page.ask("Two")
    page.button("Regenerate").last.focus()
    page.page.keyboard.press("Enter")
    page.finished()
    assert page.page.evaluate("document.querySelector('.eh-log').contains(document.activeElement)")
    page.own.last.get_by_role("button", name="More actions").focus()
    page.page.keyboard.press("Enter")
    page.page.keyboard.press("End")
    page.page.get_by_role("menuitem", name=re.compile("Delete")).focus()
    page.page.keyboard.press("Enter")
    expect(page.own).to_have_count(1)
    assert page.page.evaluate("document.activeElement !== document.body")


def test_a_menu_whose_first_entry_is_off_takes_the_focus(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Hello")
    page.replies.last.get_by_role("button", name="More actions").focus()
    page.page.keyboard.press("Enter")
    expect(page.page.get_by_role("menu")).to_be_visible()
    assert page.page.evaluate("document.activeElement.getAttribute('role')") == "menuitem"
    page.page.keyboard.press("Escape")
    expect(page.replies.last.get_by_role("button", name="More actions")).to_be_focused()


def test_an_entry_of_a_menu_is_found_by_its_first_letter(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Hello")
    page.button("Regenerate options").focus()
    keys = page.page.keyboard
    keys.press("Enter")
    expect(page.page.get_by_role("menuitem", name="Regenerate")).to_be_focused()
    keys.press("w")
    keys.press("w")
    expect(page.page.get_by_role("menuitem", name="With a different preset…")).to_be_focused()
    keys.press("Enter")
    entries = page.page.get_by_role("menuitemradio")
    expect(entries.first).to_be_focused()
    keys.press("End")
    expect(entries.last).to_be_focused()
    keys.press("p")
    expect(page.page.get_by_role("menuitemradio", name="Precise")).to_be_focused()
    keys.press("ArrowUp")
    keys.press("Home")
    expect(entries.first).to_be_focused()
    keys.press("Escape")
    expect(page.button("Regenerate options")).to_be_focused()


def test_every_control_of_the_chat_is_large_enough_for_a_finger(chat: Open, live: LiveServer) -> None:
    live.load_echo(script=THOUGHT)
    page = chat(size=PHONE, touch=True)
    page.write("Show me something to press.")
    page.button("Send").tap()
    expect(page.replies.last.locator(".eh-code")).to_be_visible()
    page.finished()
    assert page.page.evaluate(SMALL) == []
    page.button("Regenerate").tap()
    page.finished()
    page.replies.last.get_by_role("button", name="Edit").tap()
    assert page.page.evaluate(SMALL) == []
    page.button("Cancel").tap()
    page.own.last.get_by_role("button", name="More actions").tap()
    assert page.page.evaluate(SMALL) == []
    page.page.get_by_role("menuitem", name=re.compile("Delete")).tap()
    expect(page.button("Undo")).to_be_visible()
    assert page.page.evaluate(SMALL) == []
    page.button("Chats").tap()
    assert page.page.evaluate(SMALL) == []
    page.button("Close chat list").tap()
    page.button("Parameters").tap()
    expect(page.page.get_by_role("spinbutton", name="Seed")).to_be_attached()
    page.page.get_by_role("spinbutton", name="Seed").fill("33")
    page.page.wait_for_timeout(600)
    assert page.page.evaluate(SMALL) == []
    live.call("POST", "/api/params/reset", {})


def test_nothing_on_the_tabs_lies_beside_a_phones_screen(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(size=PHONE, touch=True)
    tabs = {
        "Parameters": "#eh-params-show-all input", "Model": "#eh-unload", "Settings": "#eh-settings-fixed dt >> nth=0",
        "Extensions": ".eht-extension >> nth=0",
    }  # fmt: skip
    for name, drawn in tabs.items():
        page.page.get_by_role("tab", name=name).tap()
        page.page.locator(drawn).wait_for()
        assert page.page.evaluate(BESIDE) == [], name
        assert page.page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0, name


def test_the_buttons_of_a_failed_reply_are_large_enough_for_a_finger(chat: Open, live: LiveServer) -> None:
    live.load_echo(speed=60.0, script="Some words before it fails", error_at=4)
    page = chat(size=PHONE, touch=True)
    page.write("Fail, please.")
    page.button("Send").tap()
    expect(page.replies.last.get_by_role("alert")).to_be_visible()
    assert page.page.evaluate(SMALL) == []
    assert page.page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


def test_the_picker_stays_open_when_the_keyboard_of_a_phone_comes_up(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(size=PHONE, touch=True)
    page.page.locator(".eh-topbar .eh-model").tap()
    picker = page.page.get_by_role("combobox", name="Search models")
    expect(picker).to_be_visible()
    page.page.set_viewport_size({"width": PHONE[0], "height": 450})
    page.page.wait_for_timeout(400)
    expect(picker).to_be_visible()
    expect(picker).to_be_in_viewport()
    page.page.keyboard.press("Escape")
    expect(picker).to_be_hidden()


def test_code_and_formulas_read_from_left_to_right_in_a_reply_that_does_not(chat: Open, live: LiveServer) -> None:
    live.load_echo(script=RTL)
    page = chat()
    reply = page.ask("Arabic, please.")
    code = reply.locator(".eh-code pre")
    expect(code).to_have_css("direction", "ltr")
    place = "(node) => { const range = document.createRange(); range.selectNodeContents(node);"
    box = "const text = range.getBoundingClientRect(), host = node.closest('.eh-md').getBoundingClientRect();"
    left = f"{place} {box} return [text.left - host.left, host.right - text.right]; }}"
    start, end = reply.locator(".eh-code code").evaluate(left)
    assert start < 40 < end
    start, end = reply.locator("p").first.evaluate(left)
    assert end < 5 < start
    start, end = reply.locator("p", has_text="Plain English").evaluate(left)
    assert start < 5 < end
    expect(reply.locator(".katex").first).to_have_css("direction", "ltr")


def test_indented_text_is_sent_as_it_was_pasted(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("\n    def f():\n        return 1\n\n")
    node = live.call("GET", f"/api/chats/{page.chat_id()}")["messages"][0]
    assert node["text"] == "    def f():\n        return 1"


def test_nothing_moves_for_those_who_asked_for_that(chat: Open, live: LiveServer) -> None:
    live.load_echo(speed=20.0, script="A few words to be written slowly enough to look at them. " * 3)
    page = chat(reduced_motion="reduce")
    moving = """() => document.getAnimations().filter((one) => {
        const { duration, iterations } = one.effect.getComputedTiming();
        return one.playState === 'running' && duration > 0 && iterations > 1;
    }).map((one) => one.effect.target.className)"""
    page.send("Go.")
    expect(page.replies.last).to_have_attribute("aria-busy", "true")
    assert page.page.evaluate(moving) == []
    page.page.get_by_role("tab", name="Model").click()
    expect(page.page.locator("#eh-unload")).to_be_visible()
    live.call("POST", "/api/models/load", {"name": "echo", "settings": {"load_time": 3.0}})
    page.page.wait_for_timeout(500)
    assert page.page.evaluate(moving) == []
    live.load_echo()


def test_copying_works_without_https_also_from_a_dialog(chat: Open, live: LiveServer) -> None:
    live.load_echo(script="Copy me.")
    page = chat(ready=False, permissions=["clipboard-read", "clipboard-write"])
    page.page.add_init_script("Object.defineProperty(window, 'isSecureContext', { get: () => false })")
    page.page.add_init_script(COPIES)
    page.open()
    reply = page.ask("Something")
    button = reply.get_by_role("button", name="Copy message")
    button.click()
    assert page.page.evaluate("window.copied") == "Copy me."
    expect(button).to_be_focused()
    live.load_echo(speed=60.0, script="Words and", error_at=1)
    page.send("Now fail.")
    page.button("Show log").click()
    page.button("Copy log").click()
    page.page.wait_for_timeout(200)
    assert page.page.evaluate("window.copied") != "Copy me."

"""The page goes away right after something was changed or typed: it is saved, or offered again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import PHONE, ChatPage, Open
from tests.e2e.test_races import SEND, Held

pytestmark = pytest.mark.browser
PARAMS, RESET = re.compile(r"/api/params$"), re.compile(r"/api/params/reset$")
AGAIN = re.compile(r"/messages/[\w-]+/regenerate$")
NOTE_OUTLIVES = """() => {
    const send = window.fetch;
    window.fetch = (where, how) => {
        if (how?.method === 'PATCH') localStorage.setItem('outlives', String(how.keepalive));
        return send(where, how);
    };
}"""
MUCH_AT_ONCE = """() => Promise.all([1, 2, 3].map(async () => {
    const body = JSON.stringify({ 'no such parameter': '\u8a9e'.repeat(19000) });
    const headers = { 'Content-Type': 'application/json' };
    return (await fetch('/api/params', { method: 'PATCH', keepalive: true, body, headers })).status;
}))"""
TYPE_AND_RELOAD = """(box, text) => {  // in one step of the page: no time passes between the two
    box.value = text;
    box.dispatchEvent(new Event('input', { bubbles: true }));
    location.reload();
}"""


def until(true: Callable[[], bool], what: str) -> None:
    """Wait, 30 s at most, for something on the server; the page that would wait may be gone."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def seed(live: LiveServer) -> object:
    """The seed the server has."""
    return live.call("GET", "/api/params")["values"]["seed"]


def parameters(page: ChatPage) -> Locator:
    """Open the drawer; the box of the seed."""
    page.button("Parameters").click()
    box = page.page.get_by_role("spinbutton", name="Seed")
    box.wait_for()
    return box


def test_a_parameter_changed_right_before_a_reload_is_saved(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    box = parameters(page)
    page.page.evaluate(NOTE_OUTLIVES)
    box.evaluate(TYPE_AND_RELOAD, "4711")
    until(lambda: seed(live) == 4711, "the seed is not saved")
    page.wait()
    # Here it arrives either way, so near is the server; over a slow line only so.
    assert page.page.evaluate("localStorage.getItem('outlives')") == "true"
    assert page.page.evaluate(MUCH_AT_ONCE) == [400, 400, 400]  # a browser refuses more at once than it carries
    live.call("POST", "/api/params/reset", {})


def test_a_parameter_changed_right_before_the_tab_is_closed_is_saved(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(size=PHONE, touch=True)
    box = parameters(page)
    other = page.page.context.new_page()  # a browser that loses its last page may end
    box.fill("815")
    page.page.close(run_before_unload=True)
    until(lambda: seed(live) == 815, "the seed is not saved")
    other.close()
    live.call("POST", "/api/params/reset", {})


def test_a_parameter_changed_right_before_a_reply_is_asked_for_counts_for_it(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    box = parameters(page)
    page.write("With this seed, please.")

    def in_order(value: str, act: Callable[[], None], address: re.Pattern[str]) -> None:
        """Change the seed and act at once: what is asked for waits until the seed is saved."""
        saving, asking = Held(page, PARAMS, "PATCH"), Held(page, address, "POST")
        box.fill(value)
        act()
        saving.wait()
        page.page.wait_for_timeout(300)
        assert asking.waiting == []
        saving.release()
        asking.wait()
        asking.release()

    in_order("99", lambda: page.composer.press("Enter"), SEND)
    expect(page.replies).to_have_count(1)
    page.finished()
    assert seed(live) == 99
    page.replies.last.hover()
    in_order("100", lambda: page.replies.last.get_by_role("button", name="Regenerate", exact=True).click(), AGAIN)
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    page.finished()
    assert seed(live) == 100
    in_order("101", page.button("Reset to defaults").click, RESET)  # a change that came after would undo it
    until(lambda: seed(live) == -1, "the parameters are not reset")
    expect(box).to_have_value("-1")


def test_a_system_prompt_typed_right_before_a_reload_is_saved(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    name = live.call("POST", "/api/chats", {})["id"]
    page = chat(ready=False).open(name)
    page.button("Parameters").click()
    box = page.page.get_by_role("textbox", name="System prompt")
    box.evaluate(TYPE_AND_RELOAD, "In rhyme.")
    until(lambda: live.call("GET", f"/api/chats/{name}")["system"] == "In rhyme.", "the system prompt is not saved")
    page.wait()  # Chromium may never end a page that is closed while it is being loaded again


def with_draft(page: ChatPage, key: str, text: str, before: str = "") -> None:
    """As a browser that had to go before it could save a system prompt, begun when the chat had another."""
    page.page.goto("about:blank")
    put = ";".join(
        f"localStorage.setItem('enginehouse.draft.{name}.{key}', JSON.stringify('{value}'))"
        for name, value in (("system", text), ("system-before", before))
    )
    page.page.add_init_script(f"if (!window.name && location.host) {{ {put}; window.name = 'put once'; }}")


def test_a_system_prompt_that_was_not_saved_is_saved_when_its_chat_is_opened_again(
    chat: Open, live: LiveServer
) -> None:
    live.load_echo()
    name = live.call("POST", "/api/chats", {})["id"]
    page = chat(ready=False)
    with_draft(page, name, "In verse.")
    page.open(name)
    until(lambda: live.call("GET", f"/api/chats/{name}")["system"] == "In verse.", "the system prompt is not saved")
    page.button("Parameters").click()
    expect(page.page.get_by_role("textbox", name="System prompt")).to_have_value("In verse.")


def test_a_system_prompt_of_a_chat_to_come_is_part_of_its_first_request(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(ready=False)
    with_draft(page, "new", "In prose.")
    page.open()
    page.ask("Hello")
    kept = live.call("GET", f"/api/chats/{page.chat_id()}")
    assert kept["system"] == "In prose."
    assert kept["messages"][-1]["ledger"]["kept_messages"] == 2  # the system prompt and the question


def test_a_system_prompt_that_was_not_saved_does_not_take_the_place_of_a_newer_one(
    chat: Open, live: LiveServer
) -> None:
    live.load_echo()
    made = live.call("POST", "/api/chats", {})
    live.call("PATCH", f"/api/chats/{made['id']}", {"system": "The newer one.", "rev": made["rev"]})
    page = chat(ready=False)
    with_draft(page, made["id"], "The older one.")
    page.open(made["id"])
    toast = page.page.locator(".eh-toast", has_text="The system prompt of this chat was changed")
    toast.hover()  # so it stays
    page.ask("Hello")  # what is changed last is saved before; this is not
    assert live.call("GET", f"/api/chats/{made['id']}")["system"] == "The newer one."
    page.button("Parameters").click()
    box = page.page.get_by_role("textbox", name="System prompt")
    expect(box).to_have_value("The older one.")
    toast.get_by_role("button", name="Discard").click()
    expect(box).to_have_value("The newer one.")

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
PARAMS = re.compile(r"/api/params$")
NOTE_OUTLIVES = """() => {
    const send = window.fetch;
    window.fetch = (where, how) => {
        if (how?.method === 'PATCH') localStorage.setItem('outlives', String(how.keepalive));
        return send(where, how);
    };
}"""
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


def test_a_parameter_changed_right_before_a_message_counts_for_its_reply(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    box = parameters(page)
    page.write("With this seed, please.")
    saving, sending = Held(page, PARAMS, "PATCH"), Held(page, SEND, "POST")
    box.fill("99")
    page.composer.press("Enter")
    saving.wait()
    expect(page.own.last).to_contain_text("With this seed, please.")
    page.page.wait_for_timeout(300)
    assert sending.waiting == []  # it waits for the parameter
    saving.release()
    sending.wait()
    sending.release()
    expect(page.replies).to_have_count(1)
    page.finished()
    assert seed(live) == 99
    live.call("POST", "/api/params/reset", {})


def test_a_system_prompt_typed_right_before_a_reload_is_saved(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Hello")
    name = page.chat_id()
    page.button("Parameters").click()
    box = page.page.get_by_role("textbox", name="System prompt of this chat")
    box.evaluate(TYPE_AND_RELOAD, "In rhyme.")
    until(lambda: live.call("GET", f"/api/chats/{name}")["system"] == "In rhyme.", "the system prompt is not saved")


def with_draft(page: ChatPage, key: str, text: str) -> None:
    """As a browser that had to go before it could save a system prompt."""
    page.page.goto("about:blank")
    put = f"localStorage.setItem('enginehouse.draft.system.{key}', JSON.stringify('{text}'))"
    page.page.add_init_script(f"if (!window.name && location.host) {{ {put}; window.name = 'put once'; }}")


def test_a_system_prompt_that_was_not_saved_is_saved_when_its_chat_is_opened_again(
    chat: Open, live: LiveServer
) -> None:
    live.load_echo()
    page = chat()
    page.ask("Hello")
    name = page.chat_id()
    with_draft(page, name, "In verse.")
    page.open(name)
    until(lambda: live.call("GET", f"/api/chats/{name}")["system"] == "In verse.", "the system prompt is not saved")
    page.button("Parameters").click()
    expect(page.page.get_by_role("textbox", name="System prompt of this chat")).to_have_value("In verse.")


def test_a_system_prompt_of_a_chat_to_come_is_part_of_its_first_request(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(ready=False)
    with_draft(page, "new", "In prose.")
    page.open()
    page.ask("Hello")
    kept = live.call("GET", f"/api/chats/{page.chat_id()}")
    assert kept["system"] == "In prose."
    assert kept["messages"][-1]["ledger"]["kept_messages"] == 2  # the system prompt and the question

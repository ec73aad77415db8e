"""A model that does not fit: the card in the chat says why and offers less with a button; what was changed is said."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.conftest import LiveServer
from tests.e2e.conftest import DESKTOP, PHONE, ChatPage, Open
from tests.e2e.test_leaving import until
from tests.e2e.test_races import Held

pytestmark = pytest.mark.browser
LOAD = re.compile(r"/api/models/load$")
TIGHT = {"context": 4096, "fails_above": 1024}
BUTTON = "Retry with less memory"


def send_into_a_failing_load(page: ChatPage, text: str) -> None:
    """Send a message that waits for a load, which then fails; in this order, however slow the machine is."""
    live = page.live
    live.load_echo(speed=5.0, script="It takes its time. " * 200)
    other, turn = live.chat("Keeps the model until it is stopped")
    live.call("POST", "/api/models/load", {"name": "echo", "settings": TIGHT})
    until(lambda: live.call("GET", "/api/state")["model"]["waiting"] == 1, "the load does not wait for the reply")
    page.send(text)
    until(lambda: live.call("GET", "/api/state")["model"]["waiting"] == 2, "the message does not wait for the load")
    live.call("POST", f"/api/chats/{other['id']}/replies/{turn['reply']['id']}/stop", {})


def fail_to_load(live: LiveServer, **settings: Any) -> None:
    """Load with settings that fail, and wait for the failure."""
    answer = live.http.post("/api/models/load?wait=1", json={"name": "echo", "settings": settings})
    assert answer.status_code == 500


def tab_to(page: ChatPage, button: Locator) -> None:
    """Go to a button with the Tab key alone, backwards from where one writes."""
    page.composer.focus()
    for _ in range(30):
        if button.evaluate("(one) => one === document.activeElement"):
            return
        page.page.keyboard.press("Shift+Tab")
    raise AssertionError("Tab does not reach the button")


def fits_across(page: ChatPage, size: tuple[int, int]) -> None:
    """Nothing is cut off at the side, also in a window of that size."""
    for width, height in (size, DESKTOP):
        page.page.set_viewport_size({"width": width, "height": height})
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_message_whose_model_does_not_fit_is_answered_with_less_by_keyboard_alone_also_after_a_reload(
    chat: Open, live: LiveServer
) -> None:
    page = chat()
    send_into_a_failing_load(page, "Does it fit?")
    card = page.replies.last.get_by_role("alert", name="Reply failed")
    expect(card).to_contain_text("There was not enough memory.")
    expect(card).to_contain_text("Try a smaller context.")
    expect(card.get_by_role("listitem")).to_have_text(["Context length: 4,096 → 2,048"])
    expect(page.page.locator(".eh-load-card")).to_be_hidden()  # said once, not twice
    fits_across(page, PHONE)
    page.reload()
    live.call("POST", "/api/models/unload", {})  # the offer is kept with the reply
    tab_to(page, page.button(BUTTON))
    page.page.keyboard.press("Enter")
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    # That was still too much; the next offer stands on the new version, and on the old one nothing that has failed.
    expect(page.replies.last.get_by_role("listitem").first).to_have_text("Context length: 2,048 → 1,024")
    tab_to(page, page.replies.last.get_by_role("button", name=BUTTON))
    page.page.keyboard.press("Enter")
    expect(page.replies.last.locator(".eh-md")).to_contain_text("Does it fit?")
    page.finished()
    notes = page.replies.last.get_by_role("list", name="Notes")
    expect(notes).to_contain_text("echo was loaded with less, as you chose. Context length: 2,048 → 1,024.")
    status = live.call("GET", "/api/state")["model"]
    assert (status["state"], status["settings"]["context"]) == ("ready", 1024)
    page.reload()
    expect(notes).to_contain_text("Context length: 2,048 → 1,024")
    page.button("Previous version").click()
    expect(page.page.get_by_role("group", name="Reply failed")).to_be_visible()
    expect(page.button(BUTTON)).to_have_count(0)  # the model is there by now


def test_an_engine_that_died_and_cannot_be_loaded_again_offers_less_on_the_card_of_its_reply(
    chat: Open, live: LiveServer
) -> None:
    live.load_echo(speed=60.0, script="Some words before it all goes wrong", crash_at=4)
    page = chat()
    page.send("Crash, please.")
    card = page.replies.last.get_by_role("alert")
    expect(card).to_contain_text("crashed")
    expect(page.button(BUTTON)).to_have_count(0)
    fail_to_load(live, context=4096, fails_above=2048)
    expect(page.button(BUTTON)).to_be_visible()
    expect(page.replies.last).to_contain_text("Failed to reload echo: There was not enough memory.")
    expect(page.page.locator(".eh-load-card")).to_be_hidden()
    log = page.replies.last.get_by_role("button", name="Show log")
    log.focus()
    live.load_echo()
    expect(page.button(BUTTON)).to_have_count(0)
    expect(log).to_be_focused()  # the offer went, and not what one was about to press
    expect(page.replies.last.get_by_role("alert")).to_have_count(0)  # nor is the failure read out again
    fail_to_load(live, context=4096, fails_above=2048)
    page.button(BUTTON).click()
    expect(page.replies.last.locator(".eh-md")).to_contain_text("Crash, please.")
    expect(page.replies.last).to_contain_text("Context length: 4,096 → 2,048")


def test_a_load_nobody_asked_a_reply_of_has_a_card_with_the_reason_and_the_offer(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat(size=PHONE, dark=True)
    fail_to_load(live, **TIGHT)
    card = page.page.get_by_role("alert", name="Failed to load echo")
    expect(card).to_contain_text("There was not enough memory.")
    expect(page.page.locator(".eh-toast")).to_have_count(0)  # said once, and by what stays
    card.get_by_role("button", name="Dismiss").click()
    expect(card).to_be_hidden()
    fail_to_load(live, **TIGHT)  # another failure is said again
    expect(card.get_by_role("listitem")).to_have_text(["Context length: 4,096 → 2,048"])
    fits_across(page, PHONE)
    toast = page.page.locator(".eh-toast", has_text="Loaded echo with the smaller settings you chose.")
    loading = Held(page, LOAD, "POST")
    tab_to(page, page.button("Load with these settings"))
    page.page.keyboard.press("Enter")
    loading.wait()
    live.load_echo()  # meanwhile somebody loads it in another way: that is not what was chosen here
    expect(card).to_be_hidden()
    expect(page.composer).to_have_attribute("placeholder", "Message echo")
    assert toast.count() == 0  # one that comes would go by itself: not to be waited for
    loading.release()
    expect(card.get_by_role("listitem")).to_have_text(["Context length: 2,048 → 1,024"])
    page.button("Load with these settings").click()
    expect(toast).to_contain_text("Context length: 2,048 → 1,024.")
    expect(card).to_be_hidden()
    assert live.call("GET", "/api/state")["model"]["settings"]["context"] == 1024

"""Reloads, second tabs, crashes, a server that is away: nothing typed or written is lost."""

from __future__ import annotations

import re
import signal

import pytest
from playwright.sync_api import expect

from tests.conftest import LiveServer, running_server, start_server
from tests.e2e.conftest import Open

pytestmark = pytest.mark.browser
SLOW = {"speed": 25.0, "script": "one two three four five six seven eight nine ten " * 12 + "and the end"}


def test_a_reload_in_the_middle_of_a_reply_picks_it_up_again(chat: Open, live: LiveServer) -> None:
    live.load_echo(**SLOW)
    page = chat()
    page.send("Count.")
    expect(page.replies.last).to_contain_text("three")
    page.reload()
    expect(page.replies.last).to_contain_text("one two three")
    expect(page.replies.last).to_have_attribute("aria-busy", "true")
    page.finished()
    text = page.replies.last.locator(".eh-md").inner_text()
    assert text == SLOW["script"]
    assert page.live.call("GET", f"/api/chats/{page.chat_id()}")["messages"][-1]["text"] == text


def test_two_tabs_see_each_other_while_a_reply_is_written(chat: Open, live: LiveServer) -> None:
    live.load_echo(**SLOW)
    one = chat()
    one.ask("Hello from the first tab")
    two = chat(beside=one, ready=False).open(one.chat_id())
    expect(two.replies).to_have_count(1)
    one.send("And again")
    expect(two.own.last).to_contain_text("And again")
    expect(two.replies.last).to_have_attribute("aria-busy", "true")
    two.button("Stop").click()
    one.finished()
    expect(one.replies.last.locator(".eh-stats")).to_contain_text("stopped")
    two.finished()
    two.send("From the second")
    expect(one.own.last).to_contain_text("From the second")
    two.page.keyboard.press("Escape")
    two.finished()


def test_a_stale_page_branches_instead_of_overwriting(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    first = chat()
    first.ask("Where it began")
    stale = chat(beside=first, ready=False)
    stale.page.route_web_socket("**/api/events", lambda socket: None)  # hears nothing of the other tab
    stale.open(first.chat_id())
    first.ask("Said in the first tab")
    stale.ask("Said in the stale tab")
    expect(stale.page.get_by_text("This chat was changed in another tab")).to_be_visible()
    expect(stale.own.last.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    texts = [node["text"] for node in live.call("GET", f"/api/chats/{first.chat_id()}")["messages"]]
    assert {"Said in the first tab", "Said in the stale tab"} <= set(texts)


def test_an_engine_that_dies_leaves_a_card_the_text_and_a_chat_that_works(chat: Open, live: LiveServer) -> None:
    live.load_echo(speed=60.0, script="Some words before it all goes wrong, and more", crash_at=8)
    page = chat()
    page.send("Crash, please.")
    card = page.replies.last.get_by_role("alert")
    expect(card).to_contain_text("crashed")
    expect(page.replies.last.locator(".eh-md")).to_contain_text("Some words")
    for name in ("Retry", "Reload model"):
        expect(card.get_by_role("button", name=name)).to_be_visible()
    card.get_by_role("button", name="Show log").click()
    expect(page.page.get_by_role("dialog", name="Engine log")).to_be_visible()
    page.page.keyboard.press("Escape")
    live.load_echo()
    expect(page.ask("Still there?")).to_contain_text("Still there?")
    page.reload()
    expect(page.replies.first.get_by_role("group", name="Reply failed")).to_contain_text("crashed")


def test_what_is_typed_survives_a_reload_and_belongs_to_its_chat(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.write("A thought for a new chat")
    page.reload()
    expect(page.composer).to_have_value("A thought for a new chat")
    page.composer.press("Enter")
    expect(page.replies).to_have_count(1)
    page.write("A thought for this chat")
    page.page.locator(".eh-new").click()
    expect(page.composer).to_have_value("")
    page.page.go_back()
    expect(page.composer).to_have_value("A thought for this chat")
    page.own.last.hover()
    page.own.last.get_by_role("button", name="Edit").click()
    page.page.get_by_role("textbox", name="Edit your message").fill("Put better")
    page.reload()
    expect(page.page.get_by_role("textbox", name="Edit your message")).to_have_value("Put better")
    page.button("Cancel").click()
    page.reload()
    expect(page.page.get_by_role("textbox", name="Edit your message")).to_have_count(0)


def test_what_is_typed_while_the_server_is_away_can_be_sent_when_it_is_back(
    chat: Open, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("away")
    with running_server(folder, ui=True) as first:
        first.load_echo(**SLOW)
        page = chat(live=first)
        page.send("Write for a while.")
        expect(page.replies.last).to_contain_text("three")
        port = first.base_url.rsplit(":", 1)[1]
        first.stop(signal.SIGKILL)
        banner = page.page.locator(".eh-banner").filter(has_text="Can't reach the server.")
        expect(banner).to_be_visible()
        page.write("My next words")
        page.composer.press("Enter")
        expect(page.composer).to_have_value("My next words")
        expect(page.page.get_by_text("Your message is kept here")).to_be_visible()
        again = start_server(folder, "--port", port, ui=False)
        try:
            assert again.base_url == first.base_url
            expect(banner).to_be_hidden(timeout=20_000)
            expect(page.page.get_by_text("The server stopped while generating this reply.")).to_be_visible()
            expect(page.replies.last.locator(".eh-md")).to_contain_text("one two")
            again.load_echo()
            page.composer.press("Enter")
            expect(page.replies.last.locator(".eh-md")).to_contain_text("My next words")
            page.finished()
        finally:
            again.stop()


def test_stop_works_while_a_model_loads(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    live.call("POST", "/api/models/load", {"name": "echo", "settings": {"load_time": 3600.0}})
    expect(page.page.locator(".eh-model-state")).to_have_text(re.compile("loading"))
    page.button("Stop").click()
    expect(page.button("Stop")).to_be_hidden()
    expect(page.page.locator(".eh-topbar .eh-model-state")).not_to_have_text(re.compile("loading"))


def test_a_message_sent_while_a_model_loads_waits_for_it(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    live.call("POST", "/api/models/load", {"name": "echo", "settings": {"load_time": 6.0}})
    expect(page.page.locator(".eh-model-state")).to_have_text(re.compile("loading"))
    page.send("Patience")
    expect(page.page.locator(".eh-progress")).to_be_visible()
    expect(page.replies.last.locator(".eh-md")).to_contain_text("Patience")


def test_a_message_on_its_way_is_not_lost_when_the_page_is_reloaded(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Said before")
    name = page.chat_id()
    page.page.route("**/messages", lambda route: None)  # never gets there
    page.send("On its way")
    expect(page.own.last).to_contain_text("On its way")
    page.write("and typed meanwhile")
    page.reload()
    expect(page.own).to_have_count(1)
    expect(page.composer).to_have_value("On its way\n\nand typed meanwhile")
    page.write("")
    page.page.evaluate("localStorage.setItem(`enginehouse.draft.sending.${location.hash.slice(7)}`, '\"Said before\"')")
    page.reload()  # this one did get there: it is not offered again
    expect(page.own).to_have_count(1)
    expect(page.composer).to_have_value("")
    assert len(live.call("GET", f"/api/chats/{name}")["messages"]) == 2


def test_a_chat_deleted_in_another_tab_can_be_brought_back(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Deleted elsewhere")
    name = page.chat_id()
    page.write("Half a thought")
    live.call("DELETE", f"/api/chats/{name}")
    expect(page.own).to_have_count(0)
    assert "#/chat/" not in page.page.url
    page.button("Restore").click()
    expect(page.own.last).to_contain_text("Deleted elsewhere")
    expect(page.composer).to_have_value("Half a thought")
    assert page.chat_id() == name


def test_a_chat_that_was_left_leaves_nothing_in_memory(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    names = []
    for size in (60, 1):
        made = live.call("POST", "/api/chats", {"title": f"{size} messages"})
        names.append(made["id"])
        parent, rev = None, made["rev"]
        for number in range(size):
            body = {"parent": parent, "text": f"- **{number}**\n\n```js\nlet a = 1\n```", "rev": rev, "reply": False}
            sent = live.call("POST", f"/api/chats/{made['id']}/messages", {**body, "role": "assistant"})
            parent, rev = sent["message"]["id"], sent["rev"]
    page = chat(ready=False).open(names[1])
    session = page.page.context.new_cdp_session(page.page)
    session.send("Performance.enable")

    def counted(name: str) -> dict[str, float]:
        """Nodes and listeners alive with this chat shown."""
        page.page.evaluate("(name) => { location.hash = `#/chat/${name}`; }", name)
        expect(page.page.locator(f'.eh-chat.eh-open[data-id="{name}"]')).to_be_visible()
        expect(page.page.locator(".eh-msg .eh-foot")).to_have_count(60 if name == names[0] else 1)
        for _ in range(3):
            session.send("HeapProfiler.collectGarbage")
            page.page.wait_for_timeout(150)
        found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return {name: found[name] for name in ("Nodes", "JSEventListeners")}

    counted(names[0])
    before = counted(names[1])
    for _ in range(3):
        many = counted(names[0])
        after = counted(names[1])
    assert many["Nodes"] > before["Nodes"] + 1000
    assert after["Nodes"] < before["Nodes"] + 100
    assert after["JSEventListeners"] < before["JSEventListeners"] + 20


def test_an_edit_whose_message_is_deleted_elsewhere_goes_to_the_composer(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("It stays")
    page.ask("It goes")
    page.own.last.hover()
    page.own.last.get_by_role("button", name="Edit").click()
    page.page.get_by_role("textbox", name="Edit your message").fill("Typed with care")
    last = live.call("GET", f"/api/chats/{page.chat_id()}")["messages"][-2]
    live.call("DELETE", f"/api/chats/{page.chat_id()}/messages/{last['id']}")
    expect(page.own).to_have_count(1)
    expect(page.composer).to_have_value("Typed with care")
    expect(page.page.get_by_text("Your text is in the message box.")).to_be_visible()

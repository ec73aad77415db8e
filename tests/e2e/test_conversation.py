"""Sending, streaming, stopping, versions, branches: what a conversation is made of."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.conftest import LiveServer
from tests.e2e.conftest import ChatPage, Open

pytestmark = pytest.mark.browser
SLOW = {"speed": 40.0, "script": "one two three four five six seven eight nine ten " * 120}


def test_a_message_gets_a_streamed_reply_whose_figures_stay_after_a_reload(chat: Open, live: LiveServer) -> None:
    live.load_echo(speed=4.0, script="Here is a **short** reply, in a few words.")
    page = chat()
    page.send("Say something.")
    expect(page.own.last).to_contain_text("Say something.")
    expect(page.replies.last).to_have_attribute("aria-busy", "true")
    page.finished()
    expect(page.replies.last.locator("strong")).to_have_text("short")
    figures = page.replies.last.locator(".eh-stats")
    expect(figures).to_have_text(re.compile(r"^\d+ tokens · [\d.,]+ tok/s$"))
    told = figures.inner_text()
    page.reload()
    expect(page.replies.last.locator(".eh-stats")).to_have_text(told)
    page.replies.last.locator(".eh-stats").click()
    card = page.page.get_by_role("dialog", name="Generation details")
    for word in ("Model", "echo", "Time to first token", "End of turn", "Seed"):
        expect(card).to_contain_text(word)


def test_the_message_is_on_the_page_at_once(chat: Open, live: LiveServer) -> None:
    live.load_echo(script="Yes.")
    page = chat()
    shown = [milliseconds_until_shown(page)]
    while shown[-1] >= 50 and len(shown) < 5:  # the quickest counts: other programs can make it slower, never quicker
        shown.append(milliseconds_until_shown(page))
    assert min(shown) < 50, shown


def milliseconds_until_shown(page: ChatPage) -> float:
    """Milliseconds from Enter until the message is among the others."""
    page.write("Quick?")
    shown = page.page.evaluate(
        """() => new Promise((resolve) => {
            const began = performance.now();
            const own = () => document.querySelectorAll('.eh-msg[data-role=user]').length;
            const before = own();
            new MutationObserver(() => {
                if (own() > before) resolve(performance.now() - began);
            }).observe(document.querySelector('.eh-log'), {subtree: true, childList: true});
            const key = new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true});
            document.querySelector('.eh-write').dispatchEvent(key);
        })"""
    )
    page.finished()
    return float(shown)


def test_stop_keeps_the_text_and_continue_goes_on_in_a_new_version(chat: Open, live: LiveServer) -> None:
    live.load_echo(**SLOW)
    page = chat()
    page.send("Count.")
    expect(page.replies.last).to_contain_text("three")
    page.button("Stop").click()
    page.finished()
    expect(page.replies.last.locator(".eh-stats")).to_contain_text("stopped")
    kept = page.replies.last.locator(".eh-md").inner_text().strip()
    assert kept.startswith("one two three")
    page.button("Continue").click()
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    page.page.keyboard.press("Escape")
    page.finished()
    assert page.replies.last.locator(".eh-md").inner_text().startswith(kept)
    page.button("Previous version").click()
    expect(page.replies.last.locator(".eh-md")).to_have_text(kept)


def test_regenerating_makes_a_second_version_and_keeps_the_first(chat: Open, live: LiveServer) -> None:
    live.load_echo(tokens=12)
    page = chat()
    first = page.ask("Tell me.").locator(".eh-md").inner_text()
    page.button("Regenerate").click()
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    page.finished()
    second = page.replies.last.locator(".eh-md").inner_text()
    assert second != first
    expect(page.button("Next version")).to_be_disabled()
    page.button("Previous version").click()
    expect(page.replies.last.locator(".eh-md")).to_have_text(first)
    page.reload()
    expect(page.replies.last.locator(".eh-md")).to_have_text(first)
    expect(page.page.get_by_role("group", name="Message version 1 of 2")).to_be_visible()


def test_an_edited_message_is_a_branch_and_the_old_one_stays(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("First wording")
    page.ask("And a second message")
    page.own.first.hover()
    page.own.first.get_by_role("button", name="Edit").click()
    box = page.page.get_by_role("textbox", name="Edit your message")
    box.fill("Second wording")
    page.button("Save & send").click()
    expect(page.own).to_have_count(1)
    page.finished()
    expect(page.replies.last).to_contain_text("Second wording")
    page.own.first.get_by_role("button", name="Previous version").click()
    expect(page.own).to_have_count(2)
    expect(page.own.first).to_contain_text("First wording")
    expect(page.replies.last).to_contain_text("And a second message")


def test_a_reply_can_be_edited_too_and_leaving_with_changes_asks(chat: Open, live: LiveServer) -> None:
    live.load_echo(script="The capital is Lyon.")
    page = chat()
    page.ask("What is the capital of France?")
    page.replies.last.get_by_role("button", name="Edit").click()
    box = page.page.get_by_role("textbox", name="Edit reply")
    box.fill("The capital is Paris.")
    box.press("Escape")
    expect(page.page.get_by_text("Press Esc again to discard")).to_be_visible()
    page.button("Save").click()
    expect(page.replies.last.locator(".eh-md")).to_have_text("The capital is Paris.")
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()


def test_a_deleted_message_comes_back_with_undo(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Keep me")
    page.ask("Delete me")
    page.own.last.hover()
    page.own.last.get_by_role("button", name="More actions").click()
    page.page.get_by_role("menuitem", name="Delete 2 messages (1 yours, 1 reply)").click()
    expect(page.own).to_have_count(1)
    page.button("Undo").click()
    expect(page.own).to_have_count(2)
    expect(page.replies.last).to_contain_text("Delete me")


def test_branching_from_an_earlier_message_keeps_what_followed(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("Alpha")
    page.ask("Beta")
    page.replies.first.hover()
    page.replies.first.get_by_role("button", name="More actions").click()
    page.page.get_by_role("menuitem", name="Branch from here").click()
    expect(page.own).to_have_count(1)
    page.ask("Gamma")
    expect(page.page.get_by_role("group", name="Message version 2 of 2")).to_be_visible()
    page.own.last.get_by_role("button", name="Previous version").click()
    expect(page.replies.last).to_contain_text("Beta")


def test_thinking_is_one_line_and_stays_open_when_it_was_opened(chat: Open, live: LiveServer) -> None:
    thought = "<think>\n" + "I weigh this and that. " * 40 + "\n</think>\n\nThe answer is yes."
    live.load_echo(speed=45.0, script=thought)
    page = chat()
    page.send("Think about it.")
    line = page.page.locator(".eh-thought")
    expect(line).to_contain_text("Thinking…")
    line.locator("summary").click()
    page.finished()
    expect(line).to_have_attribute("open", "")
    expect(line).to_contain_text(re.compile(r"Thought for [\d.]+ s · \d+ tokens"))
    expect(line.locator(".eh-thought-text")).to_contain_text("I weigh this and that.")
    expect(page.replies.last.locator(".eh-md")).to_have_text("The answer is yes.")
    page.reload()
    expect(page.page.locator(".eh-thought")).to_contain_text(re.compile(r"Thought for [\d.]+ s · \d+ tokens"))
    expect(page.page.locator(".eh-thought")).not_to_have_attribute("open", "")


def test_a_message_too_long_is_seen_while_typing_and_its_card_offers_an_edit_and_a_larger_context(
    chat: Open, live: LiveServer
) -> None:
    live.load_echo(context=512)
    page = chat()
    meter = page.page.locator(".eh-meter")
    page.composer.fill("word " * 1000)
    expect(meter).to_contain_text(re.compile(r"~1.\d{3} / 512"))
    expect(meter).to_have_attribute("data-level", "full")
    page.composer.press("Enter")
    card = page.replies.last.get_by_role("alert", name="Reply failed")
    card.get_by_role("button", name="Edit message").click()
    expect(page.page.get_by_role("textbox", name="Edit your message")).to_have_value("word " * 999 + "word")
    page.page.keyboard.press("Escape")
    card.get_by_role("button", name=re.compile(r"Reload with [\d,]+ tokens")).click()
    expect(page.replies.last.locator(".eh-md")).to_contain_text("word word")
    page.finished()
    notes = page.replies.last.get_by_role("list", name="Notes")
    expect(notes).to_contain_text("echo was loaded with a larger context, as you chose.")


def test_the_meter_fills_and_a_line_marks_where_the_context_was_cut(chat: Open, live: LiveServer) -> None:
    live.load_echo(context=140, tokens=30)
    page = chat()
    meter = page.page.locator(".eh-meter")
    expect(meter).to_contain_text("0 / 140")
    for turn in range(4):
        page.ask(f"Message number {turn} has a fair number of words in it")
    expect(page.page.get_by_role("separator").filter(has_text="outside the context window")).to_be_visible()
    expect(meter).to_have_attribute("data-level", re.compile("warn|full"))
    meter.click()
    card = page.page.get_by_role("dialog", name="Context usage")
    for word in ("Your messages", "Earlier replies", "Limit", "left out"):
        expect(card).to_contain_text(word)

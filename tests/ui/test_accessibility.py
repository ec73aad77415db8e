"""Every tab in both widths, looked at by axe-core: nothing a screen reader or a keyboard cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.js.node_tools import Unavailable, package
from tests.ui.conftest import Visit, VisitMaker

pytestmark = pytest.mark.browser


def axe() -> str:
    """axe-core's script, from package-lock.json; the test is skipped where it cannot be had."""
    try:
        return Path(package("axe-core", "axe.min.js")[-1]).read_text("utf-8")
    except Unavailable as reason:
        pytest.skip(str(reason))


def violations(page: Page) -> list[str]:
    """What axe-core finds on the page as it is shown: rule, element and what is wrong, a line each."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(axe())
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [f"{rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
            for rule in found["violations"] for node in rule["nodes"]]  # fmt: skip


def chat_with_a_reply(seen: Visit) -> None:
    """Show a chat that has a message, a reply with code, and its footers."""
    seen.live.load_echo()
    chat, made = seen.live.chat("A list:\n\n- one\n\n```python\nprint(1)\n```\n")
    seen.live.events(chat["id"], made["reply"]["id"])
    seen.page.goto(f"{seen.live.base_url}/#/chat/{chat['id']}")
    seen.page.reload()
    expect(seen.page.locator(".eh-msg .eh-foot")).to_have_count(2)


def test_no_tab_has_what_axe_calls_a_violation_at_either_width(visit: VisitMaker) -> None:
    bad: list[str] = []
    for phone in (False, True):
        seen = visit(phone=phone)
        page = seen.page
        page.emulate_media(reduced_motion="reduce")  # what is still fading in has too little contrast
        chat_with_a_reply(seen)
        bad += violations(page)
        page.locator(".eh-topbar .eh-model").click()
        page.get_by_role("listbox", name="Models").get_by_role("option").first.wait_for()
        bad += violations(page)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Parameters", exact=True).click()
        page.locator(".eh-param").first.wait_for()
        bad += violations(page)
        page.keyboard.press("Escape")
        for name in ("Parameters", "Model", "Settings", "Extensions"):
            seen.tab(name)
            page.wait_for_load_state("networkidle")
            bad += violations(page)
    assert bad == [], "\n".join(sorted(set(bad)))


def test_the_first_link_of_the_page_skips_the_tabs(visit: VisitMaker) -> None:
    page = visit().page
    page.locator("#chat .eh-write").wait_for()
    page.get_by_role("link", name="Skip to content").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#chat .eh-write")).to_be_focused()
    assert "#eh-tabs" not in page.url

"""The Model tab in a real browser over a real server: the list, loading, unloading, switching, and what goes wrong."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.conftest import Visit, VisitMaker

pytestmark = pytest.mark.browser


def row(page: Page, name: str) -> Locator:
    """A model's row in the list."""
    return page.locator(f'.eht-model-row[data-name="{name}"]')


def state(page: Page) -> Locator:
    """The line that says what is loaded."""
    return page.locator(".eht-detail-state")


def choose_echo(visit: Visit) -> Page:
    """The tab with the echo engine selected and its settings shown."""
    page = visit.tab("Model").page
    row(page, "echo").click()
    page.locator("#load-echo-context").wait_for()
    return page


def set_load(page: Page, name: str, value: str) -> None:
    """Type a loader setting and leave its box."""
    field = page.locator(f"#load-echo-{name} input, #load-echo-{name} textarea").first
    field.fill(value)
    field.blur()


def test_the_list_says_what_each_file_is_and_why_one_cannot_run(visit: VisitMaker) -> None:
    page = visit().tab("Model").page
    broken = row(page, "cut short")
    expect(broken).to_be_visible()
    expect(page.locator(".eht-model-group")).to_contain_text("Cannot run (1)")
    broken.click()
    expect(page.locator(".eht-alert")).to_contain_text("This file cannot run")
    expect(page.get_by_role("button", name="Load", exact=True)).to_be_disabled()
    expect(page.locator("#eh-loader")).to_be_hidden()
    expect(page.locator(".eht-model-foot")).to_contain_text("Where are my models?")


def test_a_model_is_loaded_with_the_settings_of_its_controls_and_unloaded(visit: VisitMaker) -> None:
    seen = visit()
    page = choose_echo(seen)
    set_load(page, "context", "4096")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(state(page)).to_contain_text("Loaded with echo")
    expect(state(page)).to_contain_text(re.compile(r"4.096 tokens of context"))
    expect(row(page, "echo").locator(".eht-badge")).to_have_text("loaded")
    status = seen.live.call("GET", "/api/state")["model"]
    assert status["settings"]["context"] == 4096
    page.get_by_role("button", name="Unload", exact=True).click()
    expect(state(page)).to_contain_text("No model is loaded.")
    page.reload()
    page = choose_echo(seen)
    expect(page.locator("#load-echo-context input").first).to_have_value("4096")
    page.locator("#eh-load-defaults").click()
    expect(page.locator("#load-echo-context input").first).to_have_value("8192")
    assert seen.bad == []


def test_a_load_in_progress_shows_itself_and_can_be_cancelled(visit: VisitMaker) -> None:
    seen = visit()
    page = choose_echo(seen)
    set_load(page, "load-time", "60")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_role("progressbar", name="Loading")).to_be_visible()
    page.get_by_role("tab", name="Settings", exact=True).click()  # nothing waits for the load
    expect(page.locator("#setting-port")).to_be_visible()
    page.get_by_role("tab", name="Model", exact=True).click()
    page.get_by_role("button", name="Cancel loading").click()
    expect(state(page)).to_contain_text("No model is loaded.")
    page.locator("#eh-load-defaults").click()  # the other tests load the same engine
    expect(page.locator("#load-echo-load-time input").first).to_have_value("0")


def test_a_load_that_fails_leaves_a_card_with_the_reason(visit: VisitMaker) -> None:
    seen = visit()
    page = choose_echo(seen)
    set_load(page, "load-error", "the disk smells of smoke")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".eht-alert").first).to_contain_text("the disk smells of smoke")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.locator("#eh-load-defaults").click()
    page.get_by_role("button", name="Try again").click()
    expect(state(page)).to_contain_text("Loaded with echo")
    expect(page.locator(".eht-alert")).to_have_count(0)


def test_a_setting_out_of_range_is_refused_and_goes_back(visit: VisitMaker) -> None:
    seen = visit()
    page = choose_echo(seen)
    set_load(page, "context", "3")
    assert "has to be" in seen.toast()
    expect(page.locator("#load-echo-context input").first).to_have_value("8192")


@pytest.mark.real_model
def test_a_real_model_takes_the_place_of_the_one_that_is_loaded(visit: VisitMaker, small_model: str) -> None:
    seen = visit()
    seen.live.load_echo()
    page = seen.tab("Model").page
    row(page, small_model).click()
    expect(page.locator(".eht-detail-title")).to_contain_text("135 M parameters")
    expect(page.locator("#eh-loader-why")).not_to_be_empty()
    expect(page.locator("#eh-model-detail")).to_contain_text("Loading it ends echo")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(state(page)).to_contain_text("Loaded with llama.cpp", timeout=60_000)
    expect(row(page, "echo").locator(".eht-badge")).to_have_count(0)
    assert seen.live.call("GET", "/api/state")["model"]["model"] == small_model

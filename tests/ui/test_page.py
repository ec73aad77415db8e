"""The page as a whole in a real browser: nothing from outside, no sideways scrolling, settings, light and dark."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.ui.conftest import Visit, VisitMaker

pytestmark = pytest.mark.browser
TABS = ("Parameters", "Model", "Settings", "Extensions")


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "390 px"])
def test_no_tab_scrolls_sideways_asks_another_host_or_reports_an_error(visit: VisitMaker, phone: bool) -> None:
    seen = visit(phone=phone)
    page = seen.page
    for name in ("Chat", *TABS):
        page.get_by_role("tab", name=name, exact=True).click()
        page.locator("[role=tabpanel]:visible").first.wait_for()
        page.wait_for_load_state("networkidle")
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{name} is {wide} px too wide"
    assert seen.outside == []
    assert seen.bad == []


def test_the_chat_fills_the_page_below_the_tabs_and_stays_when_tabs_change(visit: VisitMaker) -> None:
    page = visit().page
    page.locator("#chat .eh-write").wait_for()
    page.locator("#chat .eh-write").fill("a draft")
    page.wait_for_function("document.querySelector('#chat .eh').getBoundingClientRect().bottom >= innerHeight - 1")
    box = page.locator("#chat .eh").bounding_box()
    bar = page.locator("#eh-tabs > .tab-wrapper").bounding_box()
    assert box is not None
    assert bar is not None
    assert box["y"] == pytest.approx(bar["y"] + bar["height"], abs=1)
    assert box["y"] + box["height"] == pytest.approx(820, abs=2)
    assert box["width"] == pytest.approx(1280, abs=1)
    page.get_by_role("tab", name="Parameters", exact=True).click()
    page.get_by_role("tab", name="Chat", exact=True).click()
    expect(page.locator("#chat .eh-write")).to_have_value("a draft")


def test_tabs_other_than_the_chat_are_not_in_the_page_before_their_first_visit(visit: VisitMaker) -> None:
    seen = visit()
    assert seen.page.locator("#param-temperature").count() == 0
    assert seen.page.locator(".gradio-container .block").count() <= 60
    seen.tab("Parameters")
    assert seen.page.locator("#param-temperature").count() == 1


def test_dark_follows_the_browser_and_a_choice_in_the_settings_wins(visit: VisitMaker) -> None:
    seen = visit(dark=True)
    page = seen.page
    ground = "getComputedStyle(document.body).backgroundColor"
    expect(page.locator("body.dark")).to_have_count(1)
    dark = page.evaluate(ground)
    seen.settings()
    page.locator("#setting-theme input").click()
    page.get_by_role("option", name="Light", exact=True).click()
    expect(page.locator("body.dark")).to_have_count(0)
    page.wait_for_function(f"(dark) => {ground} !== dark", arg=dark)

    def theme() -> str:
        return str(seen.live.call("GET", "/api/state")["settings"]["theme"])

    seen.until(lambda: theme() == "light", "the choice was not stored")
    page.reload()
    page.get_by_role("tab", name="Chat", exact=True).wait_for()
    expect(page.locator("body.dark")).to_have_count(0)
    seen.settings()
    page.locator("#setting-theme input").click()
    page.get_by_role("option", name="System", exact=True).click()
    expect(page.locator("body.dark")).to_have_count(1)
    seen.until(lambda: theme() == "system", "the choice was not stored")


def test_a_setting_that_needs_a_restart_says_so_and_a_boundary_cannot_be_moved_from_the_page(visit: VisitMaker) -> None:
    seen = visit()
    page = seen.settings()
    expect(page.locator("#setting-host, #setting-listen, #setting-extensions, #setting-models-dir")).to_have_count(0)
    expect(page.locator("#eh-settings-fixed")).to_contain_text("--listen")
    for choice, words in (("echo", "Restart to apply: model"), ("None: load when needed", "")):
        page.locator("#setting-model input").click()
        page.get_by_role("option", name=choice, exact=True).click()
        expect(page.locator("#eh-settings-restart")).to_contain_text(words)
        if not words:
            expect(page.locator("#eh-settings-restart .eht-surface")).to_be_hidden()


def test_a_setting_out_of_range_goes_back_to_what_is_stored(visit: VisitMaker) -> None:
    seen = visit()
    box = seen.settings().locator("#setting-port input")
    before = box.input_value()
    box.fill("99999")
    box.blur()
    assert "0 to 65535" in seen.toast()
    expect(box).to_have_value(before)


def test_a_key_is_kept_and_never_shown(visit: VisitMaker) -> None:
    seen = visit()
    page = seen.settings()
    box = page.locator("#setting-api-key input")
    assert box.get_attribute("type") == "password"
    box.fill("a very secret key")
    box.blur()
    expect(page.locator("#eh-key-state")).to_contain_text("API key stored.")
    page.reload()
    seen.settings()
    expect(page.locator("#eh-key-state")).to_contain_text("API key stored.")
    assert "a very secret key" not in page.content()
    assert page.locator("#setting-api-key input").input_value() == ""
    page.locator("#eh-key-remove").click()
    expect(page.locator("#eh-key-state")).to_contain_text("No API key set")


def test_the_extensions_tab_names_what_was_loaded_and_where_the_api_is(visit: VisitMaker) -> None:
    seen = visit()
    page = seen.tab("Extensions").page
    expect(page.locator("#eh-extensions")).to_contain_text("openai")
    expect(page.locator("#eh-api")).to_contain_text(seen.live.base_url + "/v1")


def test_a_setting_changed_while_the_server_is_away_is_kept_and_saved_when_it_is_back(visit: VisitMaker) -> None:
    seen = visit()
    page = seen.settings()
    page.route("**/gradio_api/run/**", lambda route: route.abort())
    box = page.locator("#setting-max-loaded input[type=number]")
    box.fill("3")
    with page.expect_request("**/gradio_api/run/**"):
        box.blur()
    with page.expect_request("**/gradio_api/run/**"):  # it is sent again
        pass
    expect(box).to_have_value("3")
    expect(page.locator(".toast-body")).to_have_count(0)
    page.unroute("**/gradio_api/run/**")
    seen.until(lambda: max_loaded(seen) == 3, "the value was not saved")
    box.fill("1")
    box.blur()
    seen.until(lambda: max_loaded(seen) == 1, "the value was not saved")


def max_loaded(seen: Visit) -> Any:
    """The stored setting."""
    return seen.live.call("GET", "/api/state")["settings"]["max_loaded"]


def test_a_tab_says_that_the_server_is_away_and_shows_no_green_state(visit: VisitMaker) -> None:
    seen = visit()
    seen.live.load_echo()
    page = seen.page
    page.route_web_socket("**/api/events", lambda socket: socket.close())
    page.reload()
    seen.tab("Model")
    expect(page.locator("#eh-frame").get_by_role("alert")).to_be_visible()
    expect(page.locator("#eh-model-detail .eht-detail-state .eht-dot")).to_have_class(re.compile("is-empty"))

"""The Parameters tab in a real browser over a real server."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.conftest import Visit, VisitMaker

pytestmark = pytest.mark.browser


def box(page: Page, name: str) -> Locator:
    """The number box of a parameter's control."""
    return page.locator(f"#param-{name} input[type=number]")


def stored(visit: Visit, name: str) -> object:
    """The value the server has."""
    return visit.live.call("GET", "/api/params")["values"][name]


def wait_stored(visit: Visit, name: str, value: object) -> None:
    """Wait until the server has this value."""
    visit.until(lambda: stored(visit, name) == value, f"{name} is not stored as {value!r}")


def set_number(page: Page, name: str, value: str) -> None:
    """Type into a number box and leave it."""
    box(page, name).fill(value)
    box(page, name).blur()


def test_each_kind_of_control_saves_itself_and_shows_its_value_after_a_reload(visit: VisitMaker) -> None:
    seen = visit().tab("Parameters")
    page = seen.page
    set_number(page, "temperature", "1.25")
    wait_stored(seen, "temperature", 1.25)
    set_number(page, "seed", "42")
    wait_stored(seen, "seed", 42)
    page.locator("#param-dynamic-temperature input").check()
    wait_stored(seen, "dynamic_temperature", True)
    page.locator("#param-logit-bias textarea").fill('{"12": -5}')
    page.locator("#param-logit-bias textarea").blur()
    wait_stored(seen, "logit_bias", {"12": -5.0})
    page.locator("#param-mirostat-mode input").click()
    page.get_by_role("option", name="2", exact=True).click()
    wait_stored(seen, "mirostat_mode", "2")

    page.reload()
    seen.tab("Parameters")
    expect(box(page, "temperature")).to_have_value("1.25")
    expect(box(page, "seed")).to_have_value("42")
    expect(page.locator("#param-dynamic-temperature input")).to_be_checked()
    expect(page.locator("#param-logit-bias textarea")).to_have_value('{"12": -5.0}')
    expect(page.locator("#param-mirostat-mode input")).to_have_value("2")
    assert seen.bad == []


def test_a_slider_moved_by_the_keyboard_is_saved_too(visit: VisitMaker) -> None:
    seen = visit().tab("Parameters")
    slider = seen.page.locator("#param-top-p input[type=range]")
    slider.focus()
    slider.press("Home")
    wait_stored(seen, "top_p", 0.0)


def test_a_refused_value_goes_back_to_the_stored_one_and_says_what_is_allowed(visit: VisitMaker) -> None:
    seen = visit().tab("Parameters")
    page = seen.page
    page.locator("#param-logit-bias textarea").fill("not json")
    page.locator("#param-logit-bias textarea").blur()
    said = seen.toast()
    assert "Logit bias" in said
    assert '{"1234": -100}' in said
    expect(page.locator("#param-logit-bias textarea")).to_have_value("")
    box(page, "seed").fill("")
    box(page, "seed").blur()
    expect(box(page, "seed")).to_have_value("-1")
    assert stored(seen, "seed") == -1


def test_a_value_changed_elsewhere_is_followed_while_the_tab_is_open(visit: VisitMaker) -> None:
    seen = visit().tab("Parameters")
    seen.until(lambda: seen.listening, "the line for events was not opened")
    seen.live.call("PATCH", "/api/params", {"temperature": 0.33})
    expect(box(seen.page, "temperature")).to_have_value("0.33")


def test_a_preset_is_saved_loaded_changed_and_deleted(visit: VisitMaker) -> None:
    seen = visit().tab("Parameters")
    page = seen.page
    state = page.locator("#eh-preset-state")
    set_number(page, "top-k", "77")
    wait_stored(seen, "top_k", 77)
    page.locator("#eh-preset-save-as").click()
    page.locator("#eh-preset-name input, #eh-preset-name textarea").fill("My own ${1+1}")
    page.locator("#eh-preset-name-save").click()
    expect(state).to_contain_text("Preset: My own ${1+1}")
    assert {"name": "My own ${1+1}", "shipped": False} in seen.live.call("GET", "/api/presets")["presets"]

    set_number(page, "top-k", "12")
    expect(state).to_contain_text("Preset: My own ${1+1} (modified)")
    page.locator("#eh-preset-save").click()
    expect(state).to_have_text("Preset: My own ${1+1}")

    shipped = next(one["name"] for one in seen.live.call("GET", "/api/presets")["presets"] if one["shipped"])
    page.locator("#eh-preset input").click()
    page.get_by_role("option", name=re.compile(re.escape(shipped))).first.click()
    expect(state).to_contain_text(f"Preset: {shipped}")
    expect(page.locator("#eh-preset-delete")).to_be_disabled()
    expect(page.locator("#eh-preset-save")).to_be_disabled()

    page.locator("#eh-preset input").click()
    page.get_by_role("option", name=re.compile("My own")).click()
    expect(box(page, "top-k")).to_have_value("12")
    page.locator("#eh-preset-delete").click()
    expect(page.locator("#eh-preset-delete-line")).to_contain_text("Delete preset “My own ${1+1}”?")
    page.locator("#eh-preset-delete-yes").click()
    expect(state).to_contain_text("Changes save automatically.")
    assert not [one for one in seen.live.call("GET", "/api/presets")["presets"] if not one["shipped"]]
    expect(box(page, "top-k")).to_have_value("12")
    assert seen.bad == []


def test_a_shipped_preset_cannot_be_saved_over(visit: VisitMaker) -> None:
    seen = visit().tab("Parameters")
    shipped = next(one["name"] for one in seen.live.call("GET", "/api/presets")["presets"] if one["shipped"])
    seen.page.locator("#eh-preset-save-as").click()
    seen.page.locator("#eh-preset-name input, #eh-preset-name textarea").fill(shipped)
    seen.page.locator("#eh-preset-name-save").click()
    assert "built-in preset" in seen.toast()


def test_reset_brings_the_start_values_and_neutral_the_models_own_probabilities(visit: VisitMaker) -> None:
    seen = visit().tab("Parameters")
    set_number(seen.page, "temperature", "3")
    seen.page.locator("#eh-params-neutral").click()
    expect(box(seen.page, "temperature")).to_have_value("1")
    seen.page.locator("#eh-params-start").click()
    expect(box(seen.page, "temperature")).to_have_value("0.7")


def test_only_what_the_loader_honours_is_shown_and_the_rest_on_demand_but_fixed(visit: VisitMaker) -> None:
    seen = visit()
    seen.live.load_echo()
    page = seen.tab("Parameters").page
    expect(page.locator("#eh-params-hidden")).to_contain_text("hidden: not supported by echo")
    expect(page.locator("#param-seed")).to_be_visible()
    expect(page.locator("#param-top-k")).to_be_hidden()
    page.locator("#eh-params-show-all input").check()
    expect(page.locator("#param-top-k")).to_be_visible()
    expect(box(page, "top-k")).to_be_disabled()


def test_the_search_leaves_only_the_controls_that_match(visit: VisitMaker) -> None:
    page = visit().tab("Parameters").page
    page.get_by_role("searchbox", name="Search parameters").fill("mirostat_tau")
    expect(page.locator("#param-mirostat-tau")).to_be_visible()
    expect(page.locator("#param-temperature")).to_be_hidden()
    page.get_by_role("searchbox", name="Search parameters").fill("")
    expect(page.locator("#param-temperature")).to_be_visible()


@pytest.mark.parametrize("how", ["reload", "close"])
def test_what_is_typed_and_not_left_yet_is_saved_when_the_page_goes_away(visit: VisitMaker, how: str) -> None:
    seen = visit(phone=how == "close")
    page = seen.tab("Parameters").page
    seen.until(lambda: seen.listening, "the tab does not listen yet")
    other = page.context.new_page()  # one that stays: it waits while the first is gone
    page.bring_to_front()
    box(page, "temperature").focus()
    box(page, "temperature").fill("1.65")
    if how == "close":
        page.close(run_before_unload=True)
    else:
        page.evaluate("location.reload()")
    seen.page = other
    wait_stored(seen, "temperature", 1.65)
    if how == "reload":
        page.get_by_role("tab", name="Parameters").wait_for()  # closed while it is being loaded again it may never end
    other.close()


NOTE_OUTLIVES = """(() => {
    const send = window.fetch;
    window.fetch = (where, how) => {
        const ours = String(where).includes('/gradio_api/') && how?.body;
        if (ours) localStorage.setItem('outlives', String(how.keepalive));
        return send(where, how);
    };
})()"""


def test_a_setting_typed_and_not_left_yet_is_saved_when_the_page_is_loaded_again(visit: VisitMaker) -> None:
    seen = visit()
    seen.page.add_init_script(NOTE_OUTLIVES)
    page = seen.open().settings()
    number = page.locator("#setting-max-loaded input[type=number]")
    number.focus()
    number.fill("3")
    page.evaluate("location.reload()")

    def stored_setting() -> object:
        return seen.live.call("GET", "/api/state")["settings"]["max_loaded"]

    seen.until(lambda: stored_setting() == 3, "the setting is not stored")
    # Here it arrives either way, so near is the server; over a slow line only so.
    assert page.evaluate("localStorage.getItem('outlives')") == "true"
    number = seen.open().settings().locator("#setting-max-loaded input[type=number]")
    expect(number).to_have_value("3")
    number.fill("1")
    number.blur()
    seen.until(lambda: stored_setting() == 1, "the setting is not stored")

"""The Model tab in a real browser over a real server: the list, loading, unloading, switching, and what goes wrong."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Route, WebSocketRoute, expect

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
    expect(page.locator(".eht-model-group")).to_have_text(["Adapters and projectors (2)", "Unsupported (1)"])
    broken.click()
    expect(page.locator(".eht-alert")).to_contain_text("Can't run this file")
    expect(page.get_by_role("button", name="Load", exact=True)).to_be_disabled()
    expect(page.locator("#eh-loader")).to_be_hidden()
    expect(page.locator(".eht-model-foot")).to_contain_text("Put .gguf files")


def test_a_model_is_loaded_with_the_settings_of_its_controls_and_unloaded(visit: VisitMaker) -> None:
    seen = visit()
    page = choose_echo(seen)
    set_load(page, "context", "4096")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(state(page)).to_contain_text("Loaded with echo")
    expect(state(page)).to_contain_text(re.compile(r"context 4.096"))
    expect(row(page, "echo").locator(".eht-badge")).to_have_text("loaded")
    status = seen.live.call("GET", "/api/state")["model"]
    assert status["settings"]["context"] == 4096
    page.get_by_role("button", name="Unload", exact=True).click()
    expect(state(page)).to_contain_text("No model loaded")
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
    expect(state(page)).to_contain_text("No model loaded")
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
    expect(page.locator(".eht-detail-title")).to_contain_text("135M parameters")
    expect(page.locator("#eh-loader-why")).not_to_be_empty()
    expect(page.locator("#eh-model-detail")).to_contain_text("Loading it unloads echo")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(state(page)).to_contain_text("Loaded with llama.cpp", timeout=60_000)
    expect(row(page, "echo").locator(".eht-badge")).to_have_count(0)
    assert seen.live.call("GET", "/api/state")["model"]["model"] == small_model


def fold(page: Page, name: str) -> Locator:
    """The heading of a group of settings."""
    return page.locator(f"#eh-fold-llama-cpp-{name} > button")


@pytest.mark.real_model
def test_settings_stand_in_groups_and_only_the_first_is_open(visit: VisitMaker, small_model: str) -> None:
    seen = visit(phone=True)
    page = seen.tab("Model").page
    row(page, small_model).click()
    expect(page.locator('[id="load-llama-cpp-context"]')).to_be_visible()
    expect(page.locator('[id="load-llama-cpp-cache-type-k"]')).to_be_hidden()
    fold(page, "memory").click()
    expect(page.locator('[id="load-llama-cpp-cache-type-k"]')).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.real_model
def test_the_memory_a_load_takes_follows_its_settings_and_the_heading_counts_the_changes(
    visit: VisitMaker, small_model: str
) -> None:
    seen = visit()
    page = seen.tab("Model").page
    row(page, small_model).click()
    bar = page.locator("#eh-memory-bar")
    expect(bar.locator(".eht-fit-verdict")).to_contain_text(re.compile(r"It takes about \d+ MB of the"))
    expect(bar.locator(".eht-fit-legend")).to_contain_text("KV cache 189 MB")
    context = page.locator('[id="load-llama-cpp-context"] input').first
    context.fill("2048")
    context.blur()
    expect(bar.locator(".eht-fit-legend")).to_contain_text("KV cache 47 MB")
    expect(page.locator("#eh-fold-llama-cpp-context > button")).to_contain_text("Context · 1 changed")
    expect(page.locator("#eh-load-saved")).to_contain_text("Changed for the next load: Context length.")
    page.locator("#eh-load-defaults").click()
    expect(bar.locator(".eht-fit-legend")).to_contain_text("KV cache 189 MB")
    expect(page.locator("#eh-load-saved")).to_have_text("")
    assert seen.bad == []


@pytest.mark.real_model
def test_a_load_that_cannot_fit_is_said_before_in_words_and_not_only_in_colour(
    visit: VisitMaker, small_model: str
) -> None:
    seen = visit()
    seen.page.route("**/api/models/estimate", lambda route: route.fulfill(json={
        "shares": [{"device": "cpu", "name": "Memory", "weights": 30e9, "kv_cache": 5e9, "compute": 1e9,
                    "overhead": 1e9, "sum": 37e9, "device_total": 25e9, "device_free": 20e9}],
        "verdict": "too large", "why": "It takes about 37 GB, but there are only 25 GB.", "partial": ["Not the cache."],
        "total": 37e9, "factor": 1,
    }))  # fmt: skip
    page = seen.tab("Model").page
    row(page, small_model).click()
    bar = page.locator("#eh-memory-bar")
    expect(bar.locator(".eht-badge")).to_have_text("Too large")
    expect(bar).to_contain_text("It takes about 37 GB, but there are only 25 GB.")
    expect(bar.locator(".eht-fit-device")).to_contain_text(re.compile(r"about 37 GB of 20 GB free"))
    expect(page.get_by_role("button", name="Load", exact=True)).to_be_enabled()


def test_a_load_that_did_not_fit_has_a_button_that_loads_it_with_less(visit: VisitMaker) -> None:
    seen = visit()
    page = choose_echo(seen)
    set_load(page, "context", "4096")
    set_load(page, "fails-above", "2048")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".eht-alert").first).to_contain_text("There was not enough memory.")
    expect(page.locator(".eht-offer")).to_contain_text("The context is 2,048 tokens.")
    page.get_by_role("button", name="Load with these settings").click()
    expect(state(page)).to_contain_text("Loaded with echo")
    expect(page.locator("#load-echo-context input").first).to_have_value("2048")
    expect(page.locator(".eht-alert")).to_have_count(0)
    expect(page.locator("#eh-load-saved")).to_contain_text("Context")
    page.locator("#eh-load-defaults").click()
    expect(page.locator("#load-echo-context input").first).to_have_value("8192")
    assert seen.bad == []


def test_saved_settings_are_named_and_reset_forgets_them(visit: VisitMaker) -> None:
    seen = visit()
    page = choose_echo(seen)
    set_load(page, "tokens", "7")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(state(page)).to_contain_text("Loaded with echo")
    page.reload()
    page = choose_echo(seen)
    expect(page.locator("#eh-load-saved")).to_contain_text("Saved from the last load: Reply length.")
    page.locator("#eh-load-defaults").click()
    expect(page.locator("#eh-load-saved")).to_have_text("")
    page.reload()
    page = choose_echo(seen)
    expect(page.locator("#load-echo-tokens input").first).to_have_value("0")


def test_what_a_model_can_do_its_languages_and_where_its_text_goes_are_shown(visit: VisitMaker) -> None:
    seen = visit()

    def models(route: Route) -> None:
        told = route.fetch().json()
        for model in told["models"]:
            if model["name"] == "echo":
                model |= {"capabilities": ["images", "tools", "template"], "languages": ["de", "en", "<b>"]}
        route.fulfill(json=told)

    seen.page.route("**/api/models", models)
    page = choose_echo(seen)
    expect(page.locator(".eht-chip")).to_have_text(["Vision", "Tool calling", "German", "English", "<b>"])
    page.get_by_role("button", name="Load", exact=True).click()
    expect(state(page)).to_contain_text("Loaded with echo")
    expect(page.locator(".eht-leaves")).to_have_count(0)


@pytest.mark.real_model
def test_files_that_go_with_a_model_are_offered_by_name_and_a_strength_can_be_typed(
    visit: VisitMaker, small_model: str
) -> None:
    seen = visit()
    page = seen.tab("Model").page
    row(page, small_model).click()
    page.locator("#eh-fold-llama-cpp-adapters > button").click()
    box = page.locator('[id="load-llama-cpp-lora"]')
    box.locator("input").click()
    expect(page.get_by_role("option", name="style lora")).to_be_visible()
    expect(page.get_by_role("option", name="another lora")).to_have_count(0)  # made for a model of another kind
    box.locator("input").fill("style lora=0.5")
    box.locator("input").press("Enter")
    with page.expect_request(lambda one: "style lora=0.5" in (one.post_data or "") and "estimate" in one.url):
        box.locator("input").blur()
    expect(page.locator("#eh-fold-llama-cpp-adapters > button")).to_contain_text("Adapters · 1 changed")
    page.locator("#eh-load-defaults").click()
    expect(box).not_to_contain_text("style lora")


def test_text_that_leaves_this_machine_is_said_with_where_it_goes(visit: VisitMaker) -> None:
    seen = visit()

    def elsewhere(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(
            lambda text: socket.send(re.sub(r'"sends_to": ?""', '"sends_to":"api.example.com"', str(text)))
        )

    seen.page.route_web_socket("**/api/events", elsewhere)
    seen.page.reload()
    page = choose_echo(seen)
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".eht-leaves")).to_have_text("Text you send leaves this machine: api.example.com")


def test_a_server_elsewhere_is_said_to_be_one_before_it_is_loaded(visit: VisitMaker) -> None:
    seen = visit()
    file = seen.live.user_data / "models" / "elsewhere.endpoint.yaml"
    file.write_text("url: https://api.example.com/v1\nmodel: theirs\n", encoding="utf-8")
    try:
        page = seen.tab("Model").page
        page.get_by_role("button", name="Rescan folder").click()
        page.locator("#eh-models").get_by_text("elsewhere", exact=True).click()
        expect(page.locator(".eht-leaves")).to_have_text(
            "Text you send to this model will leave this machine: api.example.com"
        )
        page.locator("#eh-models").get_by_text("echo", exact=True).click()
        expect(page.locator(".eht-leaves")).to_have_count(0)
    finally:
        file.unlink()


def test_what_the_engine_changed_or_ignored_of_the_settings_is_said_beside_the_model(visit: VisitMaker) -> None:
    seen = visit()
    notes = "tensor_split has no effect without a graphics card."

    def noted(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(
            lambda text: socket.send(re.sub(r'"details": ?{', f'"details":{{"notes":"{notes}",', str(text)))
        )

    seen.page.route_web_socket("**/api/events", noted)
    seen.page.reload()
    page = choose_echo(seen)
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".eht-load-notes")).to_have_text(notes)

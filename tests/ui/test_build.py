"""The page as Gradio is told about it: small, private, and with nothing of anybody's in a template."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modules.app import App
from modules.sampling.params import PARAMS
from tests.ui.conftest import EVIL

if TYPE_CHECKING:
    import gradio as gr

ROOT = Path(__file__).resolve().parents[2]


def _ids(node: dict[str, Any]) -> Iterator[int]:
    yield node["id"]
    for child in node.get("children") or []:
        yield from _ids(child)


def _first_visit(config: dict[str, Any]) -> list[int]:
    """Ids of what is in the page before a tab is changed: everything outside tabs, and the first tab."""
    kinds = {one["id"]: one["type"] for one in config["components"]}
    shown: list[int] = []

    def walk(node: dict[str, Any]) -> None:
        shown.append(node["id"])
        children = node.get("children") or []
        if kinds.get(node["id"]) == "tabs":
            children = children[:1]
        for child in children:
            walk(child)

    walk(config["layout"])
    return shown


def test_at_most_sixty_components_are_mounted_before_the_first_tab_change(config: dict[str, Any]) -> None:
    first, all_of_them = _first_visit(config), list(_ids(config["layout"]))
    assert len(first) <= 60
    assert len(all_of_them) > 2 * len(first), "the tabs are not lazy any more, or there is nothing in them"


def test_tabs_mount_their_content_with_the_first_visit(config: dict[str, Any]) -> None:
    tabs = [one["props"] for one in config["components"] if one["type"] == "tabitem"]
    assert [tab["label"] for tab in tabs] == ["Chat", "Parameters", "Model", "Settings", "Extensions"]
    assert not any(tab.get("render_children") for tab in tabs)


def test_no_event_has_more_than_three_inputs(config: dict[str, Any]) -> None:
    assert max(len(event["inputs"]) for event in config["dependencies"]) <= 3


def test_every_event_is_private_and_outside_the_queue(config: dict[str, Any]) -> None:
    wrong = [
        event["targets"]
        for event in config["dependencies"]
        if event["api_visibility"] != "private" or (event["backend_fn"] and event["queue"] is not False)
    ]
    assert config["dependencies"]
    assert not wrong


def test_no_event_of_a_control_listens_to_change_which_our_own_updates_fire_too(config: dict[str, Any]) -> None:
    kinds = {one["id"]: one["type"] for one in config["components"]}
    controls = {"slider", "number", "checkbox", "dropdown", "textbox"}
    heard = {
        name for event in config["dependencies"] for target, name in event["targets"] if kinds.get(target) in controls
    }
    assert heard == {"release", "input", "blur", "submit"}


def test_every_parameter_has_one_control_with_one_event_of_its_own(config: dict[str, Any]) -> None:
    controls = {
        one["props"]["elem_id"]: one["id"]
        for one in config["components"]
        if str(one["props"].get("elem_id")).startswith("param-")
    }
    assert set(controls) == {"param-" + param.name.replace("_", "-") for param in PARAMS}
    for name, id_ in controls.items():
        saving = [event for event in config["dependencies"] if event["inputs"] == [id_]]
        assert len(saving) == 1, name


@pytest.mark.parametrize(
    ("name", "values"),
    [("chosen", ["echo"]), ("pick", ["echo", "echo"]), ("defaults", ["echo"])],
)
def test_what_the_model_tab_asks_disk_and_devices_is_asked_in_a_thread(
    blocks: gr.Blocks, app: App, monkeypatch: pytest.MonkeyPatch, name: str, values: list[str]
) -> None:
    (handler,) = {one.fn for one in blocks.fns.values() if one.fn and one.fn.__name__ == name} or (None,)
    assert handler is not None
    asked: list[threading.Thread] = []
    for holder, method in ((app.catalog, "get"), (app.catalog, "scan"), (app.models, "pick_loader")):
        real = getattr(holder, method)

        def watched(*given: Any, real: Any = real) -> Any:
            asked.append(threading.current_thread())
            return real(*given)

        monkeypatch.setattr(holder, method, watched)
    asyncio.run(handler(*values))
    assert asked
    assert threading.current_thread() not in asked


def test_a_template_is_a_constant_that_nothing_is_filled_into(config: dict[str, Any]) -> None:
    surfaces = [one["props"] for one in config["components"] if one["type"] == "html"]
    assert len(surfaces) > 10
    for props in surfaces:
        for part in ("html_template", "css_template"):
            assert "${" not in props[part], props
            assert "{{" not in props[part], props
        assert not props.get("head")


def test_what_people_and_files_named_never_reaches_a_template_or_a_script(config: dict[str, Any], app: App) -> None:
    assert any(model.name.startswith("a ${document") for model in app.catalog.scan())
    texts = [one["props"] for one in config["components"]]
    assert EVIL in json.dumps(texts, ensure_ascii=False), (
        "the name has to be on the page for this test to mean anything"
    )
    for props in texts:
        for part in ("html_template", "css_template", "js_on_load", "head"):
            assert "document.title" not in str(props.get(part)), part
    assert not any("document.title" in str(event.get("js")) for event in config["dependencies"])


def test_nothing_is_reported_to_gradios_makers_and_no_heartbeat_holds_a_connection(
    config: dict[str, Any], blocks: gr.Blocks
) -> None:
    from gradio import analytics

    assert not analytics.analytics_enabled()
    assert config["analytics_enabled"] is False
    assert config["connect_heartbeat"] is False
    assert config["stylesheets"] == []


@pytest.fixture(scope="module")
def mounted(app: App) -> Any:
    from fastapi import FastAPI

    from modules.ui.build import mount

    return mount(FastAPI(docs_url=None, redoc_url=None, openapi_url=None), app)


def test_the_page_has_no_footer_no_run_history_and_no_gradio_accounts(mounted: Any) -> None:
    from starlette.testclient import TestClient

    with TestClient(mounted) as client:
        config = client.get("/config").json()
        assert config["footer_links"] == []
        assert config["run_history"] is False
        assert config["analytics_enabled"] is False
        assert config["title"] == "Enginehouse"
        page = client.get("/")
        assert page.status_code == 200
        assert "--bg: #" in page.text, "the first frame needs colours, not names of colours"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/queue/join",
        "/gradio_api/component_server",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=http://localhost/",
        "/gradio_api/proxy=http://localhost/",
        "/gradio_api/call/anything",
        "/gradio_api/runs",
        "/gradio_api/deep_link",
        "/assets/../gradio_api/info",
        "/monitoring",
        "/login",
        "/token",
        "/docs",
        "/pwa_icon",
    ],
)
def test_what_the_page_does_not_use_of_gradio_is_closed(mounted: Any, path: str) -> None:
    from starlette.testclient import TestClient

    with TestClient(mounted) as client:
        assert client.get(path).status_code == 404
        assert client.post(path).status_code == 404


def test_a_theme_that_is_chosen_later_is_in_the_next_page(mounted: Any, app: App) -> None:
    from starlette.testclient import TestClient

    with TestClient(mounted) as client:
        system = client.get("/config").json()
        app.settings.set("theme", "dark")
        dark = client.get("/config").json()
        app.settings.set("theme", "system")
        again = client.get("/config").json()
    assert 'fallback = "dark"' in dark["head"]
    assert dark["body_css"]["body_background_fill"] == system["body_css"]["body_background_fill_dark"]
    assert again == system


def test_only_the_page_needs_gradio() -> None:
    code = (
        "import sys, modules.app, modules.api.build; "
        "print(sorted({'gradio', 'pandas', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

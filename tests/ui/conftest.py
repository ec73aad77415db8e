"""The page built from a real program over an empty folder, and a real browser for what only a browser shows."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from modules.app import App
from modules.settings import Settings
from tests.conftest import LiveServer, Start

if TYPE_CHECKING:
    import gradio as gr

EVIL = "a ${document.title='broken'} {{value}}"
"""A name that does something wherever it is not treated as text, and that a file may have."""


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    """A program that is built and not started, with a preset, an own value and an odd model name."""
    folder = tmp_path_factory.mktemp("ui")
    (folder / "presets").mkdir()
    (folder / "presets" / f"{EVIL}.yaml").write_text("top_k: 7\n", encoding="utf-8")
    (folder / "models").mkdir()
    (folder / "models" / f"{EVIL}.gguf").write_bytes(b"GGUF not really")
    built = App.build(Settings({"user_data_dir": str(folder), "extensions": ()}))
    built.params.load_preset(EVIL)
    return built


@pytest.fixture(scope="session")
def blocks(app: App) -> gr.Blocks:
    """The page's Blocks. Importing Gradio takes seconds, so they are built once."""
    from modules.ui.build import build_blocks

    async def build() -> gr.Blocks:
        return build_blocks(app)

    return asyncio.run(build())  # as `mount` does: without a running loop Gradio makes some and closes none


@pytest.fixture(scope="session")
def config(blocks: gr.Blocks) -> dict[str, Any]:
    """What Gradio sends to the browser about the page."""
    made: dict[str, Any] = dict(blocks.get_config_file())
    return made


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for the session: the system's where there is one, else Playwright's own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", found), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


class Visit:
    """A page in the browser with everything it asked for and complained about."""

    def __init__(self, page: Page, live: LiveServer) -> None:
        self.page = page
        self.live = live
        self.requests: list[str] = []
        self.bad: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on(
            "response",
            lambda answer: self.bad.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )
        page.on("console", lambda message: self.bad.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.bad.append(str(error)))

    @property
    def outside(self) -> list[str]:
        """Addresses that are not on the server."""
        ours = (self.live.base_url, self.live.base_url.replace("http", "ws", 1), "data:", "blob:")
        return [url for url in self.requests if not url.startswith(ours)]

    def open(self) -> Visit:
        """Load the page and wait for its tabs."""
        self.page.goto(self.live.base_url + "/")
        self.page.get_by_role("tab", name="Chat", exact=True).wait_for()
        return self

    def tab(self, name: str) -> Visit:
        """Go to a tab and wait until Gradio has mounted it."""
        self.page.get_by_role("tab", name=name, exact=True).click()
        self.page.locator("[role=tabpanel]:visible .eht-page").wait_for()
        return self

    def toast(self) -> str:
        """The text of the newest message."""
        toast = self.page.locator("#eh-messages .eh-toast").last
        toast.wait_for()
        return toast.inner_text()


VisitMaker = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, server: Start) -> Iterator[VisitMaker]:
    """`visit(*flags, dark=False, phone=False, live=None)` starts a server with the page and opens it."""
    contexts = []

    def make(*flags: str, dark: bool = False, phone: bool = False, live: LiveServer | None = None) -> Visit:
        running = live or server(*flags, ui=True)
        deadline = time.monotonic() + 60
        while httpx.get(running.base_url + "/", timeout=10).status_code != 200:
            assert time.monotonic() < deadline, running.out.read_text(errors="replace")
            time.sleep(0.1)
        context = browser.new_context(
            viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 820},
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            is_mobile=phone,
        )
        context.set_default_timeout(15_000)
        contexts.append(context)
        return Visit(context.new_page(), running).open()

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    """A user-data folder that has the starter model, when this checkout has it."""
    model = Path(__file__).parents[2] / "user_data" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not model.exists():
        pytest.skip(f"{model.name} is not in user_data/models; the first start fetches it")
    folder = tmp_path / "user_data"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / model.name).symlink_to(model)
    return folder

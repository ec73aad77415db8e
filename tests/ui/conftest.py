"""The page built from a real program over an empty folder, and a real browser for what only a browser shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Response, WebSocket, expect

from modules.app import App
from modules.settings.store import Settings
from tests.conftest import LiveServer, start_server
from tests.gguf_maker import write

if TYPE_CHECKING:
    import gradio as gr

expect.set_options(timeout=30_000)
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


class Visit:
    """A page in the browser with everything it asked for and complained about."""

    def __init__(self, page: Page, live: LiveServer) -> None:
        self.page = page
        self.live = live
        self.requests: list[str] = []
        self.bad: list[str] = []
        self.hellos = 0
        page.on("websocket", self._opened)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("response", self._answered)
        page.on("console", lambda message: self.bad.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.bad.append(str(error)))

    def _opened(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self._greeted(str(frame)))

    def _greeted(self, frame: str) -> None:
        self.hellos += '"hello"' in frame

    @property
    def listening(self) -> bool:
        """Whether the page's one line for events was greeted and the Parameters tab hears it."""
        return self.hellos == 1 and self.page.locator("#eh-params-tools .eht-search").is_visible()

    def _answered(self, answer: Response) -> None:
        if answer.status >= 400:
            self.bad.append(f"{answer.status} {answer.url}")

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

    def settings(self) -> Page:
        """Go to the Settings tab and wait for the stored values, which replace what was typed before them."""
        self.tab("Settings").page.locator("#eh-settings-fixed dt").first.wait_for()
        return self.page

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait, 30 s at most, for something that shows on the server and not on the page."""
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline, what
            self.page.wait_for_timeout(50)

    def toast(self) -> str:
        """The text of the newest message."""
        toast = self.page.locator("#eh-messages .eh-toast").last
        toast.wait_for()
        return toast.inner_text()


VisitMaker = Callable[..., Visit]


MODEL = Path(__file__).parents[2] / "user_data" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server with the page for all browser tests: importing Gradio takes seconds. `visit` cleans it up."""
    folder = tmp_path_factory.mktemp("page") / "user_data"
    (folder / "models").mkdir(parents=True)
    if MODEL.exists():
        (folder / "models" / MODEL.name).symlink_to(MODEL)
    (folder / "models" / "cut short.gguf").write_bytes(b"GGUF" + b"\x03" * 40)
    for name, arch in (("style lora", "llama"), ("another lora", "qwen3")):
        write(folder / "models" / f"{name}.gguf", tensors=[("blk.0.attn_q.weight.lora_a", (576, 4), 0)],
              metadata={"general.architecture": arch, "general.type": "adapter", "adapter.type": "lora"})  # fmt: skip
    live = start_server(folder, ui=True)
    deadline = time.monotonic() + 180
    while live.http.get("/").status_code != 200:
        assert time.monotonic() < deadline, live.out.read_text(errors="replace")
        time.sleep(0.1)
    yield live
    live.stop()


@pytest.fixture
def visit(browser: Browser, page_server: LiveServer) -> Iterator[VisitMaker]:
    """`visit(dark=False, phone=False)` opens the page of a server that is as after its first start."""
    contexts = []

    def make(dark: bool = False, phone: bool = False) -> Visit:
        context = browser.new_context(
            viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 820},
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            is_mobile=phone,
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        return Visit(context.new_page(), page_server).open()

    yield make
    for context in contexts:
        context.close()
    page_server.call("POST", "/api/models/unload", {})
    page_server.call("POST", "/api/params/reset", {})
    for preset in page_server.call("GET", "/api/presets")["presets"]:
        if not preset["shipped"]:
            page_server.call("DELETE", f"/api/presets/{quote(preset['name'])}")


@pytest.fixture
def small_model(page_server: LiveServer) -> str:
    """The name of the starter model, when this checkout has it."""
    if not MODEL.exists():
        pytest.skip(f"{MODEL.name} is not in user_data/models; the first start fetches it")
    return MODEL.stem

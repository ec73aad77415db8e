"""A real Chromium on a real server with the echo engine; every page is watched for errors and outside requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import LiveServer, running_server

DESKTOP, PHONE = (1280, 800), (390, 844)
expect.set_options(timeout=30_000)


class ChatPage:
    """The chat in a browser page: what a person can do there, and what the page did behind their back."""

    def __init__(self, page: Page, live: LiveServer) -> None:
        self.page = page
        self.live = live
        self.outside: list[str] = []
        self.faults: list[str] = []
        ours = (live.base_url, live.base_url.replace("http", "ws", 1), "data:", "blob:", "about:")
        page.on("request", lambda sent: None if sent.url.startswith(ours) else self.outside.append(sent.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: (self.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))

    def open(self, chat: str | None = None) -> ChatPage:
        """Load the page, with one chat shown if named, and wait until it knows the server's state."""
        self.page.goto(self.live.base_url + (f"/#/chat/{chat}" if chat else "/"))
        return self.wait()

    def reload(self) -> ChatPage:
        self.page.reload()
        return self.wait()

    def wait(self) -> ChatPage:
        self.page.locator(".eh:not([data-loading]) .eh-write").wait_for(timeout=60_000)
        return self

    def write(self, text: str) -> None:
        """Type a message without sending it."""
        self.composer.fill(text)

    def send(self, text: str) -> None:
        """Send a message with Enter."""
        self.write(text)
        self.composer.press("Enter")

    def ask(self, text: str) -> Locator:
        """Send a message and wait until the reply has ended. The last reply."""
        before = self.replies.count()
        self.send(text)
        expect(self.replies).to_have_count(before + 1)
        self.finished()
        return self.replies.last

    def finished(self) -> None:
        """Wait until no reply is being written."""
        expect(self.page.get_by_role("button", name="Stop", exact=True)).to_be_hidden(timeout=60_000)
        expect(self.page.locator(".eh-msg[aria-busy]")).to_have_count(0)

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def replies(self) -> Locator:
        return self.page.locator('.eh-msg[data-role="assistant"]')

    @property
    def own(self) -> Locator:
        return self.page.locator('.eh-msg[data-role="user"]')

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def chat_id(self) -> str:
        """The chat the address names."""
        self.page.wait_for_url("**#/chat/*")
        return str(self.page.url).rsplit("/", 1)[1]


Open = Callable[..., ChatPage]


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server with the page, for the session. A test loads the engine it needs with `load_echo`."""
    with running_server(tmp_path_factory.mktemp("e2e"), ui=True) as running:
        yield running


@pytest.fixture
def chat(browser: Browser, live: LiveServer) -> Iterator[Open]:
    """`chat(size=…, dark=…, touch=…, live=…, ready=…)` makes a page in its own browser profile.

    At the end every page must have asked nobody but the server, and thrown no error.
    """
    pages: list[ChatPage] = []

    def make(
        size: tuple[int, int] = DESKTOP, dark: bool = False, touch: bool = False, live: LiveServer = live,
        ready: bool = True, beside: ChatPage | None = None, **more: Any,
    ) -> ChatPage:  # fmt: skip
        context = beside.page.context if beside else browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light",
            has_touch=touch, is_mobile=touch, **more,
        )  # fmt: skip
        page = ChatPage(context.new_page(), live)
        pages.append(page)
        return page.open() if ready else page

    yield make
    for page in pages:
        page.page.context.close()
    for page in pages:
        assert page.outside == [], "the page asked somebody else"
        assert page.faults == [], "the page threw errors"

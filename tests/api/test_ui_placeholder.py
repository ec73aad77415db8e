"""The place for the web page: what stands there before, after, and when it never comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from modules.api.serving import fill_page
from modules.api.ui_placeholder import UiPlaceholder
from modules.dialects.dialect import Dialect


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("the page")(scope, receive, send)


def get(app: UiPlaceholder, path: str = "/") -> httpx.Response:
    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(path)

    return asyncio.run(go())


def test_until_the_page_is_there_a_line_reloads_itself() -> None:
    answer = get(UiPlaceholder(expected=True))
    assert answer.status_code == 503
    assert "location.reload()" in answer.text  # also where the address names a chat, unlike a refresh
    assert 'http-equiv="refresh"' in answer.text
    assert "refresh" not in get(UiPlaceholder(expected=True), "/assets/x.js").text


def test_the_page_answers_once_it_is_there() -> None:
    late = UiPlaceholder(expected=True)
    late.fill(page)
    assert get(late).text == "the page"
    assert get(late, "/anything").text == "the page"


@pytest.mark.parametrize("path", ["/api/x", "/v1/x", "/web/x"])
def test_a_wrong_api_address_is_never_handed_to_the_page(path: str) -> None:
    late = UiPlaceholder(
        expected=True, dialects=[Dialect("some", ("/v1",), lambda error: {"error": {"code": error.code}})]
    )
    late.fill(page)
    answer = get(late, path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_without_a_page_the_root_says_so_and_the_rest_is_not_found() -> None:
    late = UiPlaceholder(expected=False)
    assert "--no-ui" in get(late).text
    assert get(late, "/x").status_code == 404


@pytest.mark.anyio
async def test_a_page_that_cannot_be_made_is_said_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> FastAPI:
        raise ImportError("no module named gradio")

    late = UiPlaceholder(expected=True)
    await fill_page(late, broken)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(late), base_url="http://localhost") as client:
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "ImportError" in answer.text
    assert "refresh" not in answer.text
    assert "could not be opened" in caplog.text


@pytest.mark.anyio
async def test_the_pages_own_lifespan_runs_as_long_as_it_is_there() -> None:
    seen: list[str] = []
    started = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        seen.append("start")
        started.set()
        yield
        seen.append("end")

    task = asyncio.create_task(fill_page(UiPlaceholder(expected=True), lambda: FastAPI(lifespan=lifespan)))
    await asyncio.wait_for(started.wait(), 5)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert seen == ["start", "end"]

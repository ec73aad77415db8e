"""A place in the server for the web page, whose library takes seconds to import.

The server listens at once; until the page is there, `/` shows a line that reloads by itself. What lies under
/api, or where an API dialect is, is never handed to the page: a wrong address there gets an error in its shape.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modules.api import errors
from modules.dialects.dialect import Dialect, dialect_of
from modules.errors import NotFound

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{refresh}<title>Enginehouse</title>
<style>:root{{color-scheme:light dark}}body{{font:16px/1.6 system-ui,sans-serif;display:grid;place-content:center;
min-height:90vh;text-align:center;padding:1rem}}</style><h1>Enginehouse</h1><p role="status">{text}</p></html>"""
# A refresh alone does not leave an address that names a chat (/#/chat/…): to the browser it is the same page.
_REFRESH = """<script>setTimeout(() => location.reload(), 1000)</script>
<noscript><meta http-equiv="refresh" content="1"></noscript>"""
_OURS = ("/api/", "/web/")


def page(text: str, status: int, refresh: bool = False) -> Response:
    """A small page with one sentence; with `refresh` it reloads itself every second."""
    response = HTMLResponse(_PAGE.format(text=text, refresh=_REFRESH if refresh else ""), status)
    response.headers["cache-control"] = "no-store"
    return response


class UiPlaceholder:
    """An ASGI application that is filled in later, or never."""

    def __init__(self, expected: bool, dialects: Sequence[Dialect] = ()) -> None:
        self._expected = expected
        self._dialects = dialects
        self._app: ASGIApp | None = None
        self._problem = ""

    def fill(self, app: ASGIApp) -> None:
        """From now on `app` answers."""
        self._app = app

    def fail(self, problem: str) -> None:
        """There will be no page; say why."""
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        ours = path.startswith(_OURS) or dialect_of(path, self._dialects) is not None
        if scope["type"] == "websocket" and (self._app is None or ours):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and ours:
            await errors.answer_at(_nothing(), path, self._dialects)(scope, receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        else:
            await self._instead(path)(scope, receive, send)

    def _instead(self, path: str) -> Response:
        if self._problem:
            return page(self._problem, 500)
        if self._expected:
            response = page("Starting … this page opens by itself.", 503, refresh=path == "/")
            response.headers["retry-after"] = "1"
            return response
        if path == "/":
            return page("The API is running. This server was started without its web page (--no-ui).", 200)
        return errors.answer(_nothing())


def _nothing() -> NotFound:
    return NotFound("There is nothing at this address.", hint="See docs/http-api.md for the addresses.")

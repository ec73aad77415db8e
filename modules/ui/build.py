"""How the web page gets into the server's own app. Nothing here imports Gradio before it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.routing import Mount

from modules.ui.gate import Gate

if TYPE_CHECKING:
    import gradio as gr

    from modules.app import App


@contextlib.contextmanager
def quick_import() -> Iterator[None]:
    """Import Gradio, its telemetry off, without the stub files it writes for editors at every import.

    For each of its component classes it parses the source twice and rewrites a .pyi file beside it: 1.3 of 3.4 s
    of CPU, measured with 6.31. It leaves that out for a class whose source cannot be found, so for its own
    classes we say so while it is imported.
    """
    found = inspect.getfile

    def getfile(object: Any) -> str:
        if isinstance(object, type) and object.__module__.startswith("gradio."):
            raise OSError("stub files are not wanted")
        return found(object)

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it counts visits and asks for updates otherwise
    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = found


def build_blocks(app: App) -> gr.Blocks:
    """The page. Only the chat is in it at first; another tab's content comes with its first visit."""
    with quick_import():
        from modules.ui.blocks import make_blocks

    return make_blocks(app)


def mount(asgi: FastAPI, app: App) -> FastAPI:
    """Mount the page at "/" of the server's app. Call it last: it takes every address nobody else has.

    Who may reach it is decided by the app it is mounted in; Gradio's own accounts, API pages, uploads and
    file routes stay unused, and `Gate` closes them.
    """
    with quick_import():
        from modules.ui.page import set_up

    # Inside an event loop of its own: without a running one Gradio makes several and closes none.
    asyncio.run(set_up(asgi, app))
    for route in asgi.routes:
        if isinstance(route, Mount) and route.path == "" and not isinstance(route.app, Gate):
            route.app = Gate(route.app)
    return asgi

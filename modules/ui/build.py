"""The web page: Gradio's Blocks with its tabs, and how it is mounted in the server's own app."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from modules.ui.chat_tab import chat_tab
from modules.ui.extensions_tab import extensions_tab
from modules.ui.gate import Gate
from modules.ui.model_tab import model_tab
from modules.ui.page import follow_theme, head
from modules.ui.parameters_tab import parameters_tab
from modules.ui.settings_tab import settings_tab
from modules.ui.surface import surface
from modules.ui.theme import build_theme

if TYPE_CHECKING:
    from modules.app import App

FAVICON = Path(__file__).parent / "favicon.svg"


def build_blocks(app: App) -> gr.Blocks:
    """The page. Only the chat is in the page at first; another tab's content comes with its first visit."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio counts visits and asks for updates otherwise
    with gr.Blocks(title="Enginehouse", analytics_enabled=False, fill_width=True, fill_height=True) as blocks:
        messages = surface("toasts", "eh-messages")
        with gr.Tabs(elem_id="eh-tabs", selected="chat"):
            with gr.Tab("Chat", id="chat", elem_id="eh-chat", elem_classes=["eht-tab-chat"]):
                chat_tab()
            with gr.Tab("Parameters", id="parameters", elem_id="eh-parameters") as parameters:
                parameters_tab(app, parameters, messages)
            with gr.Tab("Model", id="model", elem_id="eh-model") as model:
                model_tab(app, model, messages)
            with gr.Tab("Settings", id="settings", elem_id="eh-settings") as settings:
                settings_tab(app, settings, messages)
            with gr.Tab("Extensions", id="extensions", elem_id="eh-extensions-tab") as extensions:
                extensions_tab(app, extensions)
    return blocks


def mount(asgi: FastAPI, app: App) -> FastAPI:
    """Mount the page at "/" of the server's app. Call it last: it takes every address nobody else has.

    Who may reach it is decided by the app it is mounted in; Gradio's own accounts, API pages, uploads and
    file routes stay unused, and `Gate` closes them.
    """
    # Inside an event loop of its own: without a running one Gradio makes several and closes none.
    blocks = asyncio.run(_set_up(asgi, app))
    follow_theme(blocks, app.settings)
    for route in asgi.routes:
        if isinstance(route, Mount) and route.path == "" and not isinstance(route.app, Gate):
            route.app = Gate(route.app)
    return asgi


async def _set_up(asgi: FastAPI, app: App) -> gr.Blocks:
    blocks = build_blocks(app)
    gr.mount_gradio_app(
        asgi,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        max_file_size="1kb",
        blocked_paths=[str(app.paths.root)],
        favicon_path=str(FAVICON),
        theme=build_theme(),
        head=head(app.settings.get("theme")),
    )
    _calm(blocks)
    return blocks


def _calm(blocks: gr.Blocks) -> None:
    """Have Gradio's queue look for work 20 times a second instead of 1,000.

    It polls, and an idle page cost 4 % of a core that way (measured on 6.31), taken from the engine. What
    is queued here waits at most 50 ms longer; the values are those Gradio itself uses on Windows.
    """
    blocks._queue.sleep_when_free = 0.05
    blocks._queue.progress_update_sleep_when_free = 0.1

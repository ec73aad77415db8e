"""The Extensions tab: what was loaded, what was not and why, and where the API is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.ui.fields import QUIET
from modules.ui.surface import heading, line, surface
from modules.ui.text import t

if TYPE_CHECKING:
    from modules.app import App


def extensions_tab(app: App, tab: gr.Tab) -> None:
    """Fill the tab. Call it inside `with tab:`."""
    with gr.Column(elem_classes=["eht-page"]):
        with gr.Column(elem_classes=["eht-cards"]):
            with gr.Column(elem_classes=["eht-card"]):
                heading(t("extensions.title"))
                listing = surface("extensions_list", "eh-extensions", rows(app))
                line("eh-extensions-how", t("extensions.how"), classes=["eht-muted"])
            with gr.Column(elem_classes=["eht-card"]):
                heading(t("api.title"))
                surface("api_card", "eh-api")

    async def refresh() -> list[dict[str, Any]]:
        return rows(app)

    tab.select(refresh, outputs=[listing], **QUIET)


def rows(app: App) -> list[dict[str, Any]]:
    """Name, version, state and problem of each extension that was asked for."""
    return [
        {"name": info.name, "version": info.version, "ok": info.ok, "problem": info.problem}
        for info in app.extensions.loaded
    ]

"""The page's Blocks: its tabs and what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from modules.ui.chat_tab import chat_tab
from modules.ui.extensions_tab import extensions_tab
from modules.ui.model_tab import model_tab
from modules.ui.parameters_tab import parameters_tab
from modules.ui.settings_tab import settings_tab
from modules.ui.surface import surface
from modules.ui.text import t

if TYPE_CHECKING:
    from modules.app import App


def make_blocks(app: App) -> gr.Blocks:
    """The page. Only the chat is in the page at first; another tab's content comes with its first visit."""
    with gr.Blocks(title="Enginehouse", analytics_enabled=False, fill_width=True, fill_height=True) as blocks:
        surface("page_frame", "eh-frame")
        messages = surface("toasts", "eh-messages")
        with gr.Tabs(elem_id="eh-tabs", selected="chat"):
            with gr.Tab(t("tab.chat"), id="chat", elem_id="eh-chat", elem_classes=["eht-tab-chat"]):
                chat_tab()
            with gr.Tab(t("tab.parameters"), id="parameters", elem_id="eh-parameters") as parameters:
                parameters_tab(app, parameters, messages)
            with gr.Tab(t("tab.model"), id="model", elem_id="eh-model") as model:
                model_tab(app, model, messages)
            with gr.Tab(t("tab.settings"), id="settings", elem_id="eh-settings") as settings:
                settings_tab(app, settings, messages)
            with gr.Tab(t("tab.extensions"), id="extensions", elem_id="eh-extensions-tab") as extensions:
                extensions_tab(app, extensions)
    return blocks

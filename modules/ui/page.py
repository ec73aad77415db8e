"""The page around its Blocks: how Gradio is told to serve it, its head, and the theme before the first frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.settings.store import Settings
from modules.ui.blocks import make_blocks
from modules.ui.text import catalogue
from modules.ui.theme import TOKENS, build_theme

if TYPE_CHECKING:
    from modules.app import App

_HERE = Path(__file__).parent


async def set_up(asgi: Any, app: App) -> None:
    """Build the page and mount it. Switches off everything of Gradio that is not ours to offer."""
    blocks = make_blocks(app)
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
        favicon_path=str(_HERE / "favicon.svg"),
        theme=build_theme(),
        head=head(app.settings.get("theme")),
    )
    _calm(blocks)
    follow_theme(blocks, app.settings)


def _calm(blocks: gr.Blocks) -> None:
    """Have Gradio's queue look for work 20 times a second instead of 1,000.

    It polls, and an idle page cost 4 % of a core that way (measured on 6.31), taken from the engine. What
    is queued here waits at most 50 ms longer; the values are those Gradio itself uses on Windows.
    """
    blocks._queue.sleep_when_free = 0.05
    blocks._queue.progress_update_sleep_when_free = 0.1


def head(theme: str) -> str:
    """Everything for <head>: inlined, so that the page never shows itself half dressed."""
    texts = json.dumps(catalogue(), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    script = (_HERE / "page.js").read_text("utf-8").replace('"system"/* setting */', json.dumps(theme))
    styles = TOKENS.read_text("utf-8") + (_HERE / "page.css").read_text("utf-8")
    return f"<style>{styles}</style>\n<script>window.enginehouseTexts = {texts};\n{script}</script>"


def follow_theme(blocks: gr.Blocks, settings: Settings) -> None:
    """Keep the page that will be served next in step with the theme setting."""

    def changed(name: str, value: Any) -> None:
        if name == "theme":
            blocks.config["head"] = head(str(value))
            blocks.config["body_css"] = first_frame(str(value))

    settings.on_change.append(changed)
    changed("theme", settings.get("theme"))


def first_frame(theme: str) -> Any:
    """Colours Gradio paints the empty page with. It knows only the system's preference, so a chosen theme is
    given for both."""
    made = build_theme()
    pairs = {name: (getattr(made, name), getattr(made, name + "_dark"))
             for name in ("body_background_fill", "body_text_color")}  # fmt: skip
    light, dark = {"light": (0, 0), "dark": (1, 1)}.get(theme, (0, 1))
    out = {}
    for name, values in pairs.items():
        out[name], out[name + "_dark"] = values[light], values[dark]
    return out

"""What goes into the head of the page: tokens, the shell's style, and the theme before the first frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from modules.settings import Settings
from modules.ui.theme import TOKENS, build_theme

_HERE = Path(__file__).parent


def head(theme: str) -> str:
    """Everything for <head>: inlined, so that the page never shows itself half dressed."""
    script = (_HERE / "shell.js").read_text("utf-8").replace('"system"/* setting */', json.dumps(theme))
    styles = TOKENS.read_text("utf-8") + (_HERE / "shell.css").read_text("utf-8")
    return f"<style>{styles}</style>\n<script>{script}</script>"


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

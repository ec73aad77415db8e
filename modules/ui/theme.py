"""Gradio's theme, made from the same design tokens as the chat's own CSS.

The tokens are custom properties in web/tokens.css. Gradio wants light and dark values apart, and it
paints its first frame before any style sheet of ours has arrived, so the colours are read from that file
and handed over as plain values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

TOKENS = Path(__file__).parent / "web" / "tokens.css"
_PAIR = re.compile(r"--eh-([\w-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)\s*;")
_FONT = re.compile(r"--eh-(font|mono):\s*([^;]+);")

# Gradio's name → our token. A name with "_dark" is filled in from the same token.
_COLOURS: Mapping[str, str] = {
    "body_background_fill": "canvas",
    "body_text_color": "text",
    "body_text_color_subdued": "muted",
    "background_fill_primary": "raised",
    "background_fill_secondary": "surface",
    "border_color_primary": "line",
    "border_color_accent": "accent",
    "border_color_accent_subdued": "line",
    "color_accent_soft": "accent-soft",
    "link_text_color": "accent-text",
    "link_text_color_active": "accent-text",
    "link_text_color_hover": "accent-text",
    "link_text_color_visited": "accent-text",
    "code_background_fill": "code",
    "block_background_fill": "canvas",
    "block_border_color": "line",
    "block_info_text_color": "muted",
    "block_label_background_fill": "canvas",
    "block_label_border_color": "line",
    "block_label_text_color": "text",
    "block_title_text_color": "text",
    "panel_background_fill": "surface",
    "panel_border_color": "line",
    "accordion_text_color": "text",
    "table_text_color": "text",
    "table_border_color": "line",
    "table_even_background_fill": "canvas",
    "table_odd_background_fill": "surface",
    "table_row_focus": "accent-soft",
    "checkbox_background_color": "raised",
    "checkbox_background_color_focus": "raised",
    "checkbox_background_color_hover": "raised",
    "checkbox_background_color_selected": "accent",
    "checkbox_border_color": "line-strong",
    "checkbox_border_color_focus": "accent",
    "checkbox_border_color_hover": "accent",
    "checkbox_border_color_selected": "accent",
    "checkbox_label_background_fill": "canvas",
    "checkbox_label_background_fill_hover": "hover",
    "checkbox_label_background_fill_selected": "accent-soft",
    "checkbox_label_border_color": "line",
    "checkbox_label_border_color_hover": "line-strong",
    "checkbox_label_text_color": "text",
    "checkbox_label_text_color_selected": "text",
    "error_background_fill": "danger-soft",
    "error_border_color": "danger",
    "error_text_color": "danger",
    "error_icon_color": "danger",
    "input_background_fill": "raised",
    "input_background_fill_focus": "raised",
    "input_background_fill_hover": "raised",
    "input_border_color": "line-strong",
    "input_border_color_focus": "accent",
    "input_border_color_hover": "line-strong",
    "input_placeholder_color": "muted",
    "loader_color": "accent",
    "slider_color": "accent",
    "stat_background_fill": "accent",
    "button_primary_background_fill": "accent",
    "button_primary_background_fill_hover": "accent-hover",
    "button_primary_border_color": "accent",
    "button_primary_border_color_hover": "accent-hover",
    "button_primary_text_color": "on-accent",
    "button_primary_text_color_hover": "on-accent",
    "button_secondary_background_fill": "raised",
    "button_secondary_background_fill_hover": "hover",
    "button_secondary_border_color": "line-strong",
    "button_secondary_border_color_hover": "line-strong",
    "button_secondary_text_color": "text",
    "button_secondary_text_color_hover": "text",
    "button_cancel_background_fill": "raised",
    "button_cancel_background_fill_hover": "danger-soft",
    "button_cancel_border_color": "danger",
    "button_cancel_border_color_hover": "danger",
    "button_cancel_text_color": "danger",
    "button_cancel_text_color_hover": "danger",
}  # fmt: skip

# Borders instead of shadows, one radius, 14 px controls in 36 px rows.
_SHAPES: Mapping[str, str] = {
    "shadow_drop": "none",
    "shadow_drop_lg": "none",
    "shadow_inset": "none",
    "shadow_spread": "0px",
    "block_shadow": "none",
    "block_label_shadow": "none",
    "block_border_width": "0px",
    "block_label_border_width": "0px",
    "block_padding": "8px 0px",
    "block_radius": "10px",
    "block_title_text_size": "0.875rem",
    "block_title_text_weight": "500",
    "block_info_text_size": "0.8125rem",
    "container_radius": "10px",
    "form_gap_width": "0px",
    "layout_gap": "12px",
    "panel_border_width": "1px",
    "embed_radius": "0px",
    "body_text_size": "0.875rem",
    "section_header_text_size": "1rem",
    "section_header_text_weight": "600",
    "checkbox_border_width": "1px",
    "checkbox_border_radius": "4px",
    "checkbox_shadow": "none",
    "checkbox_label_shadow": "none",
    "checkbox_label_shadow_hover": "none",
    "checkbox_label_shadow_active": "none",
    "input_border_width": "1px",
    "input_radius": "6px",
    "input_padding": "7px 10px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 1px var(--eh-accent)",
    "input_text_size": "0.875rem",
    "button_border_width": "1px",
    "button_large_padding": "7px 16px",
    "button_large_radius": "6px",
    "button_large_text_size": "0.875rem",
    "button_large_text_weight": "500",
    "button_medium_padding": "7px 14px",
    "button_medium_radius": "6px",
    "button_medium_text_size": "0.875rem",
    "button_medium_text_weight": "500",
    "button_small_padding": "4px 10px",
    "button_small_radius": "6px",
    "button_small_text_size": "0.8125rem",
    "button_small_text_weight": "500",
    "button_transition": "background-color 120ms, border-color 120ms",
    "button_primary_shadow": "none",
    "button_primary_shadow_hover": "none",
    "button_primary_shadow_active": "none",
    "button_secondary_shadow": "none",
    "button_secondary_shadow_hover": "none",
    "button_secondary_shadow_active": "none",
    "button_cancel_shadow": "none",
    "button_cancel_shadow_hover": "none",
    "button_cancel_shadow_active": "none",
    "prose_text_size": "0.875rem",
    "prose_header_text_weight": "600",
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """The colours of tokens.css as name → (light, dark), and its font stacks."""

    colours: Mapping[str, tuple[str, str]]
    font: str
    mono: str


def read_tokens(css: str | None = None) -> Tokens:
    """The tokens in `css`, by default those of the style sheet."""
    text = TOKENS.read_text("utf-8") if css is None else css
    fonts = {name: " ".join(stack.split()) for name, stack in _FONT.findall(text)}
    return Tokens({name: (light, dark) for name, light, dark in _PAIR.findall(text)}, fonts["font"], fonts["mono"])


def build_theme(tokens: Tokens | None = None) -> gr.themes.Base:
    """The theme for `mount_gradio_app`. Fetches no font: the stacks name what the system has."""
    used = tokens or read_tokens()
    theme = gr.themes.Base(
        font=[gr.themes.Font("system-ui")],
        font_mono=[gr.themes.Font("ui-monospace")],
        spacing_size=gr.themes.sizes.spacing_md,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
    )
    # Assigned after construction: the constructor quotes every name, which would turn system-ui into the
    # name of a font nobody has.
    theme.font, theme.font_mono = used.font, used.mono
    # Some of Gradio's components use the hues directly, without a light and a dark one.
    for shade in ("400", "500", "600", "700"):
        setattr(theme, f"primary_{shade}", "var(--eh-accent)")
        setattr(theme, f"secondary_{shade}", "var(--eh-accent)")
    theme.neutral_200 = "var(--eh-active)"
    values: dict[str, str | None] = {"color_accent": "var(--eh-accent)", "shadow_spread_dark": "0px"}
    for name, token in _COLOURS.items():
        values[name], values[name + "_dark"] = used.colours[token]
    for name, shape in _SHAPES.items():
        values[name] = shape
    known = {name for name in vars(theme) if not name.startswith("_")}
    for name in [name for name in values if name.endswith("_dark") and name not in known]:
        del values[name]
    theme.set(**values)
    theme.name = "enginehouse"
    return theme

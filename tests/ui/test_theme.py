"""The tokens: readable in light and dark, and the only source of colour for Gradio's theme."""

from __future__ import annotations

import re

import pytest

from modules.ui.theme import TOKENS, build_theme, read_tokens

GROUNDS = ("canvas", "surface", "raised", "hover", "active", "user", "code", "accent-soft")
TEXTS = ("text", "muted", "accent-text", "danger", "warning", "success")
PAIRS = (
    ("on-accent", "accent"),
    ("on-accent", "accent-hover"),
    ("on-danger", "danger"),
    ("danger", "danger-soft"),
    ("warning", "warning-soft"),
    ("success", "success-soft"),
    ("text", "selection"),
)


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance of #rrggbb."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_every_text_colour_has_a_contrast_of_four_and_a_half_on_every_ground(mode: int) -> None:
    colours = read_tokens().colours
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS] + list(PAIRS)
    pairs += [(name, "code") for name in colours if name.startswith("hl-")]
    poor = {
        f"{text} on {ground}": round(ratio, 2)
        for text, ground in pairs
        if (ratio := contrast(colours[text][mode], colours[ground][mode])) < 4.5
    }
    assert not poor


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_the_edge_of_a_control_has_a_contrast_of_three_where_controls_stand(mode: int) -> None:
    colours = read_tokens().colours
    for ground in ("canvas", "surface", "raised"):
        assert contrast(colours["line-strong"][mode], colours[ground][mode]) >= 3
        assert contrast(colours["focus"][mode], colours[ground][mode]) >= 3


def test_gradios_theme_has_the_tokens_colours_for_light_and_dark() -> None:
    colours = read_tokens().colours
    theme = build_theme()
    assert theme.body_background_fill == colours["canvas"][0]
    assert theme.body_background_fill_dark == colours["canvas"][1]
    assert theme.button_primary_background_fill_dark == colours["accent"][1]
    css = theme._get_theme_css()
    assert "None" not in re.findall(r"--body-[\w-]+: (\w+)", css)


def test_the_theme_fetches_no_font_and_names_the_systems_own() -> None:
    theme = build_theme()
    assert theme._stylesheets == []
    assert theme.font.startswith("system-ui,")
    assert "http" not in theme._get_theme_css().replace("http://www.w3.org/2000/svg", "")
    assert "http" not in TOKENS.read_text("utf-8")


def test_a_theme_value_that_is_no_token_does_not_slip_in() -> None:
    known = {value for pair in read_tokens().colours.values() for value in pair}
    theme = build_theme()
    for name in (
        "body_text_color",
        "input_background_fill",
        "block_background_fill",
        "table_text_color",
        "border_color_primary",
    ):
        assert getattr(theme, name) in known
        assert getattr(theme, name + "_dark") in known

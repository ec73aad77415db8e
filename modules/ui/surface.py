"""A piece of the page that is our own DOM inside Gradio.

Gradio runs a `gr.HTML` template through Handlebars and then evaluates the result as JavaScript: a value
that got into a template would run. So the template here is a constant that nothing is filled into, what is
shown travels as the component's value, and an ES module writes it into the page as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from modules.ui.text import t
from modules.web.assets import web_url, web_version

_TEMPLATE = '<div class="eht-surface"></div>'


def surface(
    module: str,
    elem_id: str,
    value: Any = None,
    events: Sequence[str] = (),
    classes: Sequence[str] = (),
    visible: bool = True,
) -> gr.HTML:
    """A component whose content the module web/tabs/<module>.js draws.

    Args:
        module   file name without ending; it exports mount({element, trigger, props, watch})
        value    JSON-ready data for it; the module may set it too, and it is what the component is worth as input
        events   names the module triggers; each is then a method of the component, like `click`
    """
    # Gradio offers a custom event when its quoted name stands in this script.
    names = ", ".join(f"'{event}'" for event in events)
    script = (
        f"const events = [{names}];"
        f"import('{web_url(f'tabs/{module}.js', web_version())}')"
        ".then((module) => module.mount("
        "{element: element.querySelector('.eht-surface'), trigger, props, watch, events}))"
        ".catch((error) => { console.error(error);"
        f" element.textContent = {json.dumps(t('page.part_failed'))}; }});"
    )
    return gr.HTML(
        value=value,
        html_template=_TEMPLATE,
        css_template="",
        js_on_load=script,
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["eht-own", *classes],
        visible=visible,
    )


def line(elem_id: str, value: str = "", classes: Sequence[str] = ()) -> gr.HTML:
    """One line of plain text that may hold names people or files gave."""
    return surface("plain_text", elem_id, value, classes=["eht-line", *classes])


def heading(text: str, level: int = 2) -> gr.HTML:
    """A heading with a constant text of ours."""
    if any(sign in text for sign in "${}<>`\\"):
        raise ValueError(f"a heading is a constant without markup, not {text!r}")
    return gr.HTML(
        html_template=f'<h{level} class="eht-heading">{text}</h{level}>', css_template="", js_on_load=None,
        apply_default_css=False, elem_classes=["eht-own"],
    )  # fmt: skip

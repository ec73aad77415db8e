"""The chat tab: one `gr.HTML` whose inside belongs to our own ES modules (modules/ui/web).

Gradio evaluates an HTML component's templates as JavaScript template literals, so nothing a person or a model
wrote may ever reach them: the template is a constant, and the script gets constants only (the address of
our own module and the table of shortcuts). Everything else the page asks /api for.
"""

from __future__ import annotations

import json

import gradio as gr

from modules.ui.shortcuts import as_config
from modules.ui.text import t
from modules.web.assets import web_url, web_version

TEMPLATE = '<div class="eh-mount" style="min-height: 60vh"></div>'


def mount_script(version: str) -> str:
    """The script that starts the chat in its element; `version` names this state of the browser's files."""
    config = json.dumps({"shortcuts": as_config()}, ensure_ascii=True, separators=(",", ":"))
    module = json.dumps(web_url("main.js", version))
    return (
        f"const config = {config};"
        "const place = element.querySelector('.eh-mount') ?? element;"
        f"import({module}).then((page) => page.mount({{ element: place, config }}))"
        ".catch((error) => { console.error(error);"
        f" place.textContent = {json.dumps(t('page.chat_failed'))}; }});"
    )


def chat_tab() -> gr.HTML:
    """The component. It has no value and no events: the chat talks to /api by itself."""
    return gr.HTML(
        value="",
        html_template=TEMPLATE,
        css_template="",
        js_on_load=mount_script(web_version()),
        apply_default_css=False,
        container=False,
        padding=False,
        elem_id="chat",
        elem_classes=["eh-own"],
    )

"""What a chat template gives away about its model, without running it."""

from __future__ import annotations

import re

from modules.messages.reasoning import formats_in

_TOOLS = re.compile(r"\btools\b")
_THINKING = re.compile(r"enable_thinking|reasoning_content|reasoning_effort|thinking_budget|think_begin_token")


def template_traits(*templates: str) -> tuple[str, ...]:
    """Of "template", "tools", "thinking": what chats with these templates can have. () without any."""
    text = "\n".join(templates)
    if not text.strip():
        return ()
    found = ["template"]
    if _TOOLS.search(text):
        found.append("tools")
    if _THINKING.search(text) or formats_in(text):
        found.append("thinking")
    return tuple(found)

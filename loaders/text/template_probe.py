"""What a chat template takes, found by rendering short chats with it. In the worker, once for each load.

Rendering tells what reading a program cannot: whether a system message is refused or silently left out, and which
variable really changes the prompt. The variables are data (SWITCHES); to know another one, add a row.
"""

from __future__ import annotations

from loaders.text.template import ChatTemplate
from modules.errors import BadRequest
from modules.messages.reasoning import formats_in
from modules.types import Message, TemplateTraits, ThinkingSwitch

SWITCHES: tuple[tuple[str, bool | str, bool | str], ...] = (
    ("enable_thinking", True, False),  # Qwen 3, GLM, Gemma 4, Nemotron …
    ("thinking", True, False),  # DeepSeek V3.1, Granite 3.3, Kimi K3
    ("thinking_mode", "enabled", "disabled"),  # MiniMax M3
    ("reasoning", True, False),  # Command A Reasoning
    ("reasoning_effort", "high", "no_think"),  # Hunyuan 3
    ("reasoning_effort", "high", "none"),
    ("reasoning_effort", "high", "minimal"),  # Solar Open
)
"""Variables that turn thinking on and off: name, value for on, value for off. The first that acts counts."""

_SYSTEM, _USER, _SECOND = "Probe of the system.", "Probe of the user.", "Second probe of the user."


def probe(template: ChatTemplate) -> TemplateTraits:
    """The traits of a template. One that refuses even a plain question keeps the defaults, and says why when used."""
    if _prompt(template, Message("user", _USER)) is None:
        return TemplateTraits()
    system = _prompt(template, Message("system", _SYSTEM), Message("user", _USER))
    twice = _prompt(template, Message("user", _USER), Message("user", _SECOND))
    return TemplateTraits(
        system_role=system is not None and _SYSTEM in system,
        same_role=twice is not None and _USER in twice and _SECOND in twice,
        thinking=_switch(template),
        reasons=bool(formats_in(template.source)),
    )


def _switch(template: ChatTemplate) -> ThinkingSwitch | None:
    plain = _prompt(template, Message("user", _USER))
    for name, on, off in SWITCHES:
        if name not in template.source or not _knows(template.source, off):
            continue
        with_on = _prompt(template, Message("user", _USER), **{name: on})
        with_off = _prompt(template, Message("user", _USER), **{name: off})
        if with_on is None or with_off is None or with_on == with_off:
            continue
        return ThinkingSwitch(name, on, off, True if plain == with_on else False if plain == with_off else None)
    return None


def _knows(source: str, value: bool | str) -> bool:
    """Whether a template compares with this word; one that writes it into the prompt would take any."""
    return isinstance(value, bool) or f'"{value}"' in source or f"'{value}'" in source


def _prompt(template: ChatTemplate, *messages: Message, **variables: bool | str) -> str | None:
    """The prompt, None where the template refuses."""
    try:
        return template.render(messages, variables, False)
    except BadRequest:
        return None

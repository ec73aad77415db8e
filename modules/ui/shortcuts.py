"""SHORTCUTS: every key of the chat, once.

The browser gets the table as constants with the page (`as_config`), matches keys by it and draws the help
sheet from it. `Mod` is Ctrl, or the command key on a Mac. Keys that browsers need themselves (reload,
address bar, new tab and window, close, print, find) are never taken.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from modules.ui.text import t

When = Literal["anywhere", "empty composer", "message", "composer"]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One action and the chords that start it.

    action  the name the browser's code knows it by; "" = shown in the sheet only, handled by the text field itself
    keys    chords such as "Mod+Shift+O"; the first is the one shown in tooltips
    label, group  the last part of the key of its text (`shortcut.<label>`, `shortcut.group.<group>`)
    when    anywhere (a plain character only outside text fields); with the composer empty; with a message
            focused; in the composer
    """

    action: str
    keys: tuple[str, ...]
    label: str
    group: str
    when: When = "anywhere"


WRITE, REPLY, CHATS, MOVE = "writing", "reply", "chats", "navigation"

SHORTCUTS: tuple[Shortcut, ...] = (
    Shortcut("", ("Enter",), "send", WRITE, "composer"),
    Shortcut("", ("Shift+Enter",), "newline", WRITE, "composer"),
    Shortcut("edit_last", ("ArrowUp",), "edit_last", WRITE, "empty composer"),
    Shortcut("escape", ("Escape",), "escape", REPLY),
    Shortcut("regenerate", ("Mod+Enter",), "regenerate", REPLY, "empty composer"),
    Shortcut("continue", ("Alt+Enter",), "continue", REPLY),
    Shortcut("previous_version", ("ArrowLeft",), "previous_version", REPLY,
             "empty composer"),
    Shortcut("next_version", ("ArrowRight",), "next_version", REPLY,
             "empty composer"),
    Shortcut("copy_reply", ("Mod+Shift+C",), "copy_reply", REPLY),
    Shortcut("copy_code", ("Mod+Shift+;",), "copy_code", REPLY),
    Shortcut("new_chat", ("Mod+Shift+O",), "new_chat", CHATS),
    Shortcut("search", ("Mod+K",), "search", CHATS),
    Shortcut("models", ("Mod+M",), "models", CHATS),
    Shortcut("drawer", ("Mod+B",), "drawer", CHATS),
    Shortcut("params", ("Mod+.",), "params", CHATS),
    Shortcut("delete_chat", ("Mod+Shift+Backspace",), "delete_chat", CHATS),
    Shortcut("focus_composer", ("Shift+Escape",), "focus_composer", MOVE),
    Shortcut("jump", ("F6",), "jump", MOVE),
    Shortcut("message_up", ("ArrowUp",), "message_up", MOVE, "message"),
    Shortcut("message_down", ("ArrowDown",), "message_down", MOVE, "message"),
    Shortcut("help", ("?", "Mod+/"), "help", MOVE),
)  # fmt: skip


def as_config() -> list[dict[str, Any]]:
    """The table as JSON-ready constants for the browser."""
    return [
        asdict(one)
        | {"keys": list(one.keys), "label": t(f"shortcut.{one.label}"), "group": t(f"shortcut.group.{one.group}")}
        for one in SHORTCUTS
    ]

"""SHORTCUTS: every key of the chat, once.

The browser gets the table as constants with the page (`as_config`), matches keys by it and draws the help
sheet from it. `Mod` is Ctrl, or the command key on a Mac. Keys that browsers need themselves (reload,
address bar, new tab and window, close, print, find) are never taken.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

When = Literal["anywhere", "empty composer", "message", "composer"]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One action and the chords that start it.

    action  the name the browser's code knows it by; "" = shown in the sheet only, handled by the text field itself
    keys    chords such as "Mod+Shift+O"; the first is the one shown in tooltips
    when    anywhere (a plain character only outside text fields); with the composer empty; with a message
            focused; in the composer
    """

    action: str
    keys: tuple[str, ...]
    label: str
    group: str
    when: When = "anywhere"


WRITE, REPLY, CHATS, MOVE = "Writing", "The reply", "Chats and panels", "Moving about"

SHORTCUTS: tuple[Shortcut, ...] = (
    Shortcut("", ("Enter",), "Send", WRITE, "composer"),
    Shortcut("", ("Shift+Enter",), "New line", WRITE, "composer"),
    Shortcut("edit_last", ("ArrowUp",), "Edit your last message (composer empty)", WRITE, "empty composer"),
    Shortcut("escape", ("Escape",), "Stop; then close a panel; then leave the edit", REPLY),
    Shortcut("regenerate", ("Mod+Enter",), "Regenerate the last reply (composer empty)", REPLY, "empty composer"),
    Shortcut("continue", ("Alt+Enter",), "Continue the last reply", REPLY),
    Shortcut("previous_version", ("ArrowLeft",), "Previous version of the last reply (composer empty)", REPLY,
             "empty composer"),
    Shortcut("next_version", ("ArrowRight",), "Next version; after the last, a new one (composer empty)", REPLY,
             "empty composer"),
    Shortcut("copy_reply", ("Mod+Shift+C",), "Copy the last reply", REPLY),
    Shortcut("copy_code", ("Mod+Shift+;",), "Copy the last code block", REPLY),
    Shortcut("new_chat", ("Mod+Shift+O",), "New chat", CHATS),
    Shortcut("search", ("Mod+K",), "Search chats", CHATS),
    Shortcut("models", ("Mod+M",), "Choose a model", CHATS),
    Shortcut("drawer", ("Mod+B",), "Show or hide the chats", CHATS),
    Shortcut("params", ("Mod+.",), "Show or hide the parameters", CHATS),
    Shortcut("delete_chat", ("Mod+Shift+Backspace",), "Delete this chat (asks first)", CHATS),
    Shortcut("focus_composer", ("Shift+Escape",), "Go to the composer", MOVE),
    Shortcut("jump", ("F6",), "Between conversation and composer", MOVE),
    Shortcut("message_up", ("ArrowUp",), "Previous message", MOVE, "message"),
    Shortcut("message_down", ("ArrowDown",), "Next message", MOVE, "message"),
    Shortcut("help", ("?", "Mod+/"), "This sheet", MOVE),
)  # fmt: skip


def as_config() -> list[dict[str, Any]]:
    """The table as JSON-ready constants for the browser."""
    return [asdict(shortcut) | {"keys": list(shortcut.keys)} for shortcut in SHORTCUTS]

"""A chat as a file to take along: Markdown to read, or the journal itself to keep everything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from modules.chats.values import Chat, MessageNode
from modules.errors import BadParameter
from modules.messages.parts import FilePart

Form = Literal["markdown", "jsonl"]
_SPEAKER = {"user": "You", "assistant": "Assistant", "system": "System", "developer": "Developer", "tool": "Tool"}
_ENDED = {
    "stopped": "(stopped here)",
    "failed": "(failed here)",
    "interrupted": "(interrupted here)",
    "running": "(still being written)",
}


@dataclass(frozen=True, slots=True)
class Export:
    """What is handed out. `name` is a plain file name, safe on every system."""

    name: str
    media_type: str
    data: bytes


def export(chat: Chat, journal: bytes, form: str) -> Export:
    """`chat` as `form`: "markdown" (the conversation selected now) or "jsonl" (all versions, everything).

    Raises BadParameter for another form.
    """
    if form == "markdown":
        return Export(file_name(chat, ".md"), "text/markdown; charset=utf-8", as_markdown(chat).encode())
    if form == "jsonl":
        return Export(file_name(chat, ".jsonl"), "application/x-ndjson", journal)
    raise BadParameter(f"There is no export as {form[:40]!r}.", hint="Use markdown or jsonl.", param="as")


def as_markdown(chat: Chat) -> str:
    """The selected conversation, one heading per message, each text exactly as it is."""
    parts = [f"# {chat.title}", f"*{chat.created[:10]}*"]
    if chat.system:
        parts.append(f"## System\n\n{chat.system}")
    parts += [_section(node) for node in chat.path()]
    return "\n\n".join(parts) + "\n"


def file_name(chat: Chat, ending: str) -> str:
    """The title as a file name: letters, digits, spaces, - and _ only; the id where nothing is left of it."""
    words = re.sub(r"[^\w -]+", " ", chat.title)
    name = " ".join(words.split()).strip(" -")[:60].rstrip()
    return f"chat {name or chat.id}{ending}"


def _section(node: MessageNode) -> str:
    speaker = _SPEAKER[node.role]
    if node.name:
        speaker = f"{speaker} ({node.name})" if node.role == "tool" else node.name
    if node.model:
        speaker += f" ({node.model})"
    parts = [f"## {speaker}"]
    if node.reasoning:
        parts.append(f"<details><summary>Thoughts</summary>\n\n{node.reasoning}\n\n</details>")
    if node.text:
        parts.append(node.text)
    parts += [f"*Attached: {part.name or part.sha256}*" for part in node.parts if isinstance(part, FilePart)]
    parts += [f"*Calls {call.name}*\n\n```json\n{call.arguments}\n```" for call in node.tool_calls]
    if node.state in _ENDED:
        parts.append(f"*{_ENDED[node.state]}*")
    return "\n\n".join(parts)

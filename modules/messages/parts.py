"""Message content parts (text, image, audio, file) and the tool calls an assistant message carries.

Values at the bottom layer: nothing here reads files, checks media or knows an engine. The shapes follow OpenAI's chat
API: https://platform.openai.com/docs/api-reference/chat/create .
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class TextPart:
    """Plain text."""

    text: str
    type: Literal["text"] = field(default="text", init=False)


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image. `data` is a PNG, JPEG, WebP or GIF file in base64."""

    data: str
    type: Literal["image"] = field(default="image", init=False)


@dataclass(frozen=True, slots=True)
class AudioPart:
    """A sound. `data` is the file in base64, `format` its kind as OpenAI names it ("wav", "mp3")."""

    data: str
    format: str = "wav"
    type: Literal["audio"] = field(default="audio", init=False)


@dataclass(frozen=True, slots=True)
class FilePart:
    """A reference to a stored attachment by content hash; the bytes are in modules/chats/attachments.py.

    sha256      64 hex digits in lower case
    media_type  MIME type ("image/png"); decides what the file becomes for an engine
    name        the file's name on the person's computer, shown and never used as a path
    """

    sha256: str
    media_type: str
    name: str = ""
    type: Literal["file"] = field(default="file", init=False)


Part = TextPart | ImagePart | AudioPart | FilePart
PART_TYPES = (TextPart, ImagePart, AudioPart, FilePart)
_PARTS: Mapping[str, type[TextPart] | type[ImagePart] | type[AudioPart] | type[FilePart]] = {
    "text": TextPart, "image": ImagePart, "audio": AudioPart, "file": FilePart,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """One complete tool call of an assistant message. `arguments` is the JSON text the model wrote, not parsed."""

    id: str
    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A piece of a tool call. Pieces of one call share `index`; the first brings `id` and `name`.

    arguments  the next piece of the JSON text
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    tokens: int = 1


def as_parts(content: str | Iterable[Part]) -> tuple[Part, ...]:
    """Message content as parts: a string is one text part, empty texts are left out, texts side by side are joined."""
    found: list[Part] = []
    for part in (TextPart(content),) if isinstance(content, str) else content:
        last = found[-1] if found else None
        if isinstance(part, TextPart) and isinstance(last, TextPart):
            found[-1] = TextPart(last.text + part.text)
        elif not isinstance(part, TextPart) or part.text != "":
            found.append(part)
    return tuple(found)


def part_from(value: Mapping[str, Any]) -> Part:
    """A part from its dict, as `part_dict` makes it. Raises ValueError for an unknown type, TypeError for bad keys."""
    kind = _PARTS.get(str(value.get("type")))
    if kind is None:
        raise ValueError(f"unknown type of message part: {value.get('type')!r}")
    return kind(**{name: one for name, one in value.items() if name != "type"})


def part_dict(part: Part) -> dict[str, Any]:
    """A part as JSON-ready dict; its `type` tells which it is."""
    return asdict(part)

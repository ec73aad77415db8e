"""Small pictures as base64, for tests."""

from __future__ import annotations

import base64
import io

from PIL import Image

from modules.messages.parts import ImagePart, TextPart
from modules.types import Message, Role


def picture(kind: str = "PNG", width: int = 4, height: int = 3, color: str = "red") -> str:
    """One of a colour."""
    held = io.BytesIO()
    with Image.new("RGB", (width, height), color) as image:
        image.save(held, kind)
    return base64.b64encode(held.getvalue()).decode()


def data_url(image: str, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{image}"


def looking(text: str, *images: str, role: Role = "user") -> Message:
    """A message with these images (base64) before its text."""
    return Message(role, (*map(ImagePart, images), TextPart(text)))

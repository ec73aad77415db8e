"""The mark that stands in a prompt where an image goes, for engines that take a prompt with marks and the images apart.

Only engine drivers and loaders know it. Everywhere else images are parts of a message, or have a place in a prompt
(GenerationRequest.image_places). Text never holds a mark: it would move an image, or make an engine look for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from modules.messages.parts import ImagePart, TextPart
from modules.types import Message, RenderedPrompt

MEDIA_MARK = "<__media__>"
"""llama.cpp's own mark (tools/mtmd/mtmd.h)."""
_NO_WIDTH = "\u200b"


def without_marks(text: str, mark: str = MEDIA_MARK) -> str:
    """Text in which a typed mark looks as before and marks nothing any more: a space of no width stands in it."""
    return text.replace(mark, mark[0] + _NO_WIDTH + mark[1:]) if mark in text else text


def marked_text(message: Message) -> str:
    """A message's texts with one mark for each image, in their order."""
    return "".join(
        MEDIA_MARK if isinstance(part, ImagePart) else without_marks(part.text) if isinstance(part, TextPart) else ""
        for part in message.content
    )


def marked_prompt(prompt: str, places: Sequence[int], mark: str = MEDIA_MARK) -> str:
    """A prompt with one `mark` at each of `places`, and no other."""
    pieces = [prompt[start:end] for start, end in pairwise((0, *places, len(prompt)))]
    return mark.join(without_marks(piece, mark) for piece in pieces)


def split_marks(text: str) -> RenderedPrompt:
    """A rendered prompt without its marks, and where they stood."""
    pieces = text.split(MEDIA_MARK)
    places, length = [], 0
    for piece in pieces[:-1]:
        length += len(piece)
        places.append(length)
    return RenderedPrompt("".join(pieces), tuple(places))


def rendered(messages: Iterable[Message], text: object) -> RenderedPrompt:
    """What a worker or server rendered of these messages; marks in it count only where there are images."""
    prompt = str(text)
    return split_marks(prompt) if any(message.images for message in messages) else RenderedPrompt(prompt)

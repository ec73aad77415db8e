"""The content of a message: a text, or parts of text and images."""

from __future__ import annotations

import re
from typing import Any

from modules.extension_api import BadParameter, ImagePart, Notice, TextPart

TEXTS = frozenset({"text", "input_text", "output_text"})
MOST_NAMED = 20
IMAGES = frozenset({"image_url", "input_image"})
NOT_UNDERSTOOD = {"input_audio": "Audio is", "file": "Files are", "input_file": "Files are", "video_url": "Videos are"}
MOST_PARTS = 1000
KNOWN = frozenset({"type", "text", "refusal", "image_url", "detail"})
_DATA_URL = re.compile(r"data:[\w.+/;=-]{0,100};base64,", re.IGNORECASE)


def read_content(value: Any, where: str, role: str, notices: dict[str, Notice]) -> tuple[TextPart | ImagePart, ...]:
    """The parts in their order. Raises BadParameter naming the place."""
    if isinstance(value, str):
        return (TextPart(value),)
    if not isinstance(value, list):
        raise BadParameter(f"{where} has to be a string or a list of parts.", param=where)
    if len(value) > MOST_PARTS:
        raise BadParameter(f"{where} has {len(value):,} parts, but {MOST_PARTS:,} is the most.", param=where)
    found: list[TextPart | ImagePart] = []
    for place, part in enumerate(value):
        at = f"{where}.{place}"
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind in IMAGES:
            if role != "user":
                raise BadParameter(f"{at} is an image, and only a user's message can hold one.", param=at)
            found.append(ImagePart(_image(part, at, notices)))
        else:
            found.append(TextPart(_text(part, kind, at)))
        _unknown(part, KNOWN, at, notices)
    return tuple(found)


def _unknown(part: dict[str, Any], known: frozenset[str], where: str, notices: dict[str, Notice]) -> None:
    """Name the fields of a part that nobody reads."""
    for name in part.keys() - known if len(notices) < MOST_NAMED else ():
        if part[name] is not None:
            said = f"{name[:80]} in a part of a message is not known here and was ignored."
            notices.setdefault(f"part {name[:80]}", Notice("unknown_field", said, param=f"{where}.{name[:80]}"))


def _text(part: Any, kind: Any, where: str) -> str:
    if isinstance(kind, str):
        if kind in TEXTS and isinstance(part.get("text"), str):
            return str(part["text"])
        if kind == "refusal" and isinstance(part.get("refusal"), str):
            return str(part["refusal"])
        if kind in NOT_UNDERSTOOD:
            raise BadParameter(f"{where} is of the type {kind}: {NOT_UNDERSTOOD[kind]} not understood here, only text "
                               "and images are.", param=where, code="unsupported")  # fmt: skip
    raise BadParameter(
        f'{where} has to be {{"type": "text", "text": …}} or {{"type": "image_url", "image_url": {{"url": '
        '"data:image/png;base64,…"}}.', param=where)  # fmt: skip


def _image(part: dict[str, Any], where: str, notices: dict[str, Notice]) -> str:
    """The image of a part as base64, not looked at yet. Raises BadParameter for anything but a data: URL."""
    given = part.get("image_url")
    if isinstance(given, dict):
        _unknown(given, frozenset({"url", "detail"}), f"{where}.image_url", notices)
    url = given.get("url") if isinstance(given, dict) else given
    detail = given.get("detail") if isinstance(given, dict) else part.get("detail")
    if detail not in (None, "auto"):
        said = "detail has no effect here: the model decides how closely it looks at an image."
        notices.setdefault("detail", Notice("without_effect", said, param=f"{where}.image_url.detail"))
    if not isinstance(url, str):
        raise BadParameter(f'{where}.image_url has to be {{"url": "data:image/png;base64,…"}}.', param=where)
    if url[:5].lower() != "data:":
        raise BadParameter(
            f"{where} names an address, and this server fetches nothing from the net.", param=where,
            hint="Send the image itself, as data:image/png;base64,…", code="image_address")  # fmt: skip
    found = _DATA_URL.match(url)
    if found is None:
        raise BadParameter(f"{where} is a data: URL that is not marked as base64.", param=where,
                           hint="Send data:image/png;base64,…")  # fmt: skip
    return url[found.end() :]

"""Languages as makers of models write them, brought to ISO 639 codes."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_LANGUAGES = 128
_CODE = re.compile(r"([a-z]{2,3})(?:[-_][A-Za-z0-9-]{2,12})?")
_NOT_LANGUAGES = frozenset({"code", "mul", "und", "zxx"})
_NAMES = {
    "english": "en", "chinese": "zh", "german": "de", "french": "fr", "spanish": "es", "italian": "it",
    "portuguese": "pt", "russian": "ru", "japanese": "ja", "korean": "ko", "arabic": "ar", "hindi": "hi",
    "dutch": "nl", "polish": "pl", "turkish": "tr", "thai": "th", "vietnamese": "vi", "indonesian": "id",
}  # fmt: skip


def language_codes(stated: Iterable[str]) -> tuple[str, ...]:
    """The codes among `stated`, each once, in their order; what is no language is left out."""
    found: dict[str, None] = {}
    for text in stated:
        word = text.strip().strip("\"'")
        word = _NAMES.get(word.lower(), word)
        match = _CODE.fullmatch(word[:1].lower() + word[1:] if word.isupper() is False else word.lower())
        if match and match[1] not in _NOT_LANGUAGES and len(found) < MAX_LANGUAGES:
            found[match[1]] = None
    return tuple(found)

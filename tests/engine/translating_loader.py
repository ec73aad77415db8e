"""A loader with a task that the program knows nothing of: it translates, word by word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loaders.base import LoaderSpec, LoadRequest
from modules.tasks import Task
from modules.types import EngineInfo

WORDS = {"the": "das", "sea": "Meer"}


@dataclass(frozen=True, slots=True)
class TranslateRequest:
    """A text, and the language it is to be in."""

    text: str
    language: str


TRANSLATE = Task("translate", "", "", TranslateRequest, lambda found: str(found["text"]))
SPEC = LoaderSpec("translating", "Translating", (), (), {}, frozenset(), "tests.engine.translating_loader:load",
                  tasks=("translate",))  # fmt: skip


class Translator:
    """A backend that writes nothing, and has one task."""

    def __init__(self, info: EngineInfo) -> None:
        self.info = info
        self.tasks = {"translate": self._translate}

    def _translate(self, request: Mapping[str, Any], cancelled: Callable[[], bool]) -> dict[str, str]:
        return {"text": " ".join(WORDS.get(word, word) for word in request["text"].split()), "to": request["language"]}

    def close(self) -> None:
        """Nothing to give back."""


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> Translator:
    """Load it."""
    return Translator(EngineInfo(request.model, SPEC.name, 10))

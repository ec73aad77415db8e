"""What a load that did not fit offered instead: taken for a reply, and said with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from modules.errors import EnginehouseError
from modules.models.status import ModelStatus
from modules.types import Chunk, Failed, Notice, Progress

Begin = Callable[[str, str, Mapping[str, Any], bool], asyncio.Task[ModelStatus]]


class Watched(Protocol):
    """What is needed of the models: how the one in the foreground is, and to be told of changes."""

    on_change: list[Callable[[ModelStatus], None]]

    @property
    def status(self) -> ModelStatus: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A model with complete settings for one of its loaders, and in words what they change."""

    model: str
    loader: str
    settings: Mapping[str, Any]
    changes: tuple[str, ...]

    @classmethod
    def of(cls, error: Mapping[str, Any] | None) -> Offer | None:
        """The offer in an error (`as_dict`), also one read from a chat's file; None where there is none to take."""
        told: Any = (error or {}).get("fallback")
        match told:
            case {"model": str(model), "loader": str(loader), "settings": dict(settings)}:
                return cls(model, loader, settings, _words(told))
        return None


def _words(told: Mapping[str, Any]) -> tuple[str, ...]:
    changes = told.get("changes")
    rows = [one for one in changes if isinstance(one, Mapping)] if isinstance(changes, list) else []
    found = tuple(f"{one.get('label')}: {one.get('was')} → {one.get('now')}" for one in rows)
    return found or (str(told.get("says", "")),)


async def loaded_with(offer: Offer, models: Watched, begin: Begin) -> AsyncGenerator[Chunk, None]:
    """Load the model so: Progress meanwhile, then a Notice of what was changed, or a Failed.

    Left early, the load goes on as any other that nobody waits for.
    """
    news = asyncio.Event()

    def heard(status: ModelStatus) -> None:
        news.set()

    models.on_change.append(heard)
    try:
        loading = begin(offer.model, offer.loader, offer.settings, False)
        loading.add_done_callback(lambda task: news.set())
        while not loading.done():
            await news.wait()
            news.clear()
            now = models.status
            if now.model == offer.model and now.progress is not None:
                yield Progress("loading", round(now.progress * 100), 100)
        await loading
    except EnginehouseError as error:
        yield Failed(error.as_dict())
        return
    finally:
        models.on_change.remove(heard)
    yield Notice("load_fallback", f"{offer.model} was loaded with less, as you chose. {'; '.join(offer.changes)}.")

"""Other settings to load a model with for a reply: less memory where it did not fit, or a larger context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from loaders.base import LoaderSpec
from modules.errors import BadParameter, BadRequest, EnginehouseError
from modules.models.fallback import Change, worded
from modules.models.status import ModelStatus
from modules.types import Chunk, Failed, Notice, ParamValue, Progress

BeginLoad = Callable[[str, str, Mapping[str, Any], bool], asyncio.Task[ModelStatus]]


class Watched(Protocol):
    """What is needed of the models: how the one in the foreground is, and to be told of changes."""

    on_change: list[Callable[[ModelStatus], None]]

    @property
    def status(self) -> ModelStatus: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A model with complete settings for one of its loaders, what they change, and what else there is to say.

    larger   a larger context, offered for a prompt that did not fit; else less memory, for a load that did not fit
    """

    model: str
    loader: str
    settings: Mapping[str, Any]
    changes: tuple[Change, ...]
    more: tuple[str, ...] = ()
    larger: bool = False

    @classmethod
    def of(cls, error: Any) -> Offer | None:
        """The offer in an error (`as_dict`), also one read from a chat's file; None where there is none to take."""
        return cls._read(error.get("fallback") if isinstance(error, Mapping) else None)

    @classmethod
    def larger_of(cls, error: Any) -> Offer | None:
        """The larger context among an error's `offers`, as `of`."""
        offers = error.get("offers") if isinstance(error, Mapping) else None
        rows = offers if isinstance(offers, (list, tuple)) else ()
        found = next((row for row in rows if isinstance(row, Mapping) and row.get("kind") == "reload"), None)
        offer = cls._read(found)
        return None if offer is None else replace(offer, larger=True)

    @classmethod
    def _read(cls, offered: Any) -> Offer | None:
        match offered:
            case {"model": str(model), "loader": str(loader), "settings": dict(settings), "changes": [_, *_] as rows}:
                words = [one if isinstance(one, Mapping) else {} for one in rows]
                changes = (Change(*(str(one.get(name)) for name in ("name", "label", "was", "now"))) for one in words)
                return cls(model, loader, settings, tuple(changes))
        return None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, as `of` reads it."""
        changes = [asdict(change) for change in self.changes]
        return {"model": self.model, "loader": self.loader, "settings": dict(self.settings), "changes": changes}

    @property
    def words(self) -> str:
        """What is different, for people."""
        return "; ".join((*(f"{one.label}: {one.was} → {one.now}" for one in self.changes), *self.more))


def confirmed(offer: Offer, spec: LoaderSpec, usual: Mapping[str, ParamValue]) -> Offer:
    """An offer from a chat's file, which anybody may have written: it has to do what it says, and to say all.

    usual   what the model is loaded with when nothing is said: settings that are others without being told are told now
    Raises BadRequest for one that this program cannot have made, or whose words are not what it would set.
    """
    try:
        settings = spec.check_settings(offer.settings)
    except BadParameter as error:
        raise no_offer() from error
    params = {param.name: param for param in spec.params}
    true = [
        replace(one, label=params[one.name].label, now=worded(params[one.name], settings[one.name]))
        for one in offer.changes
        if one.name in params
    ]
    if not (offer.larger or spec.ladder) or true != list(offer.changes):
        raise no_offer()
    told = {one.name for one in true}
    more = [
        f"{param.label}, as it was tried: {worded(param, settings[param.name])}"
        for param in spec.params
        if param.name not in told and settings[param.name] != usual[param.name]
    ]
    return replace(offer, settings=settings, more=tuple(more))


def no_offer() -> BadRequest:
    """The answer where nothing smaller can be taken."""
    return BadRequest(
        "There is nothing to try instead any more.",
        hint="Choose the settings on the Model tab.",
        code="nothing_smaller",
    )


async def loaded_with(offer: Offer, models: Watched, begin: BeginLoad) -> AsyncGenerator[Chunk, None]:
    """Load the model so: Progress meanwhile, then a Notice of what was changed, or a Failed.

    Left early, the load goes on as any other that nobody waits for.
    """
    news = asyncio.Event()

    def heard(status: ModelStatus) -> None:
        news.set()

    models.on_change.append(heard)
    seen = -1
    try:
        yield Progress("queued", 0, 1)
        loading = begin(offer.model, offer.loader, offer.settings, False)
        loading.add_done_callback(lambda task: news.set())
        while not loading.done():
            await news.wait()
            news.clear()
            now = models.status
            if now.model == offer.model and now.progress is not None and (at := round(now.progress * 100)) != seen:
                seen = at
                yield Progress("loading", at, 100)
        await loading
    except EnginehouseError as error:
        yield Failed(error.as_dict())
        return
    finally:
        models.on_change.remove(heard)
    code, how = ("context_enlarged", "a larger context") if offer.larger else ("load_fallback", "less")
    yield Notice(code, f"{offer.model} was loaded with {how}, as you chose. {offer.words}.")

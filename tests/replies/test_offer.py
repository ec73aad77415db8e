"""Offers read from a chat's file: they do what they say and say all, or they are not taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from loaders import Registry
from modules.errors import BadRequest, LoadFailed
from modules.models.status import ModelStatus
from modules.replies.offer import Offer, confirmed, loaded_with
from modules.types import Chunk, Failed, Notice, Progress

ECHO = Registry().get("echo")
USUAL = ECHO.check_settings({"speed": 5.0})
ROW = {"name": "context", "label": "Context length", "was": "4,096", "now": "2,048"}


def offer(settings: Mapping[str, Any], *rows: Any) -> Offer:
    """As read from a file."""
    told = {"model": "echo", "loader": "echo", "settings": dict(settings), "says": "Less.", "changes": list(rows)}
    found = Offer.of({"message": "x", "fallback": told})
    assert found is not None
    return found


def test_an_offer_does_what_it_says_and_settings_it_does_not_tell_of_are_told() -> None:
    taken = confirmed(offer({"context": 2048, "speed": 5}, ROW), ECHO, USUAL)
    assert taken.settings == {**USUAL, "context": 2048}
    assert taken.words == "Context length: 4,096 → 2,048"
    taken = confirmed(offer({"context": 2048, "speed": 7.5, "noise": True}, ROW), ECHO, USUAL)
    assert taken.words == "Context length: 4,096 → 2,048; Speed, as it was tried: 7.5; Noise, as it was tried: on"


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"context": 8_000_000}, [ROW]),  # it says less and would set more
        ({"context": 2048}, [{**ROW, "label": "Something harmless"}]),
        ({"context": 2048}, [ROW, {**ROW, "now": "16"}]),
        ({"context": 2048}, [ROW, None]),
        ({"context": 2048}, [{**ROW, "name": "no such setting"}]),
        ({"context": 2048, "no such setting": 1}, [ROW]),
        ({"context": "many"}, [ROW]),
    ],
)
def test_an_offer_whose_words_are_not_what_it_would_set_is_not_taken(settings: dict[str, Any], rows: list[Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        confirmed(offer(settings, *rows), ECHO, USUAL)
    assert refused.value.code == "nothing_smaller"


def test_a_loader_that_never_offers_less_has_offered_nothing() -> None:
    confirmed(offer({"context": 2048}, ROW), ECHO, USUAL)
    with pytest.raises(BadRequest):
        confirmed(offer({"context": 2048}, ROW), replace(ECHO, ladder=()), USUAL)


@pytest.mark.parametrize(
    "error",
    [
        None, "text", [], {}, {"fallback": "text"}, {"fallback": {"settings": {}, "says": "Less."}},
        {"fallback": {"model": "echo", "loader": "echo", "settings": {}, "changes": []}},
    ],
)  # fmt: skip
def test_what_a_file_has_in_place_of_an_offer_is_none(error: Any) -> None:
    assert Offer.of(error) is None


class Pool:
    """Models whose loading is told by hand."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[ModelStatus], None]] = []
        self.status = ModelStatus(state="starting", model="echo")

    def tell(self, progress: float) -> None:
        self.status = replace(self.status, progress=progress)
        for callback in self.on_change:
            callback(self.status)


@pytest.mark.anyio
@pytest.mark.parametrize("fails", [False, True])
async def test_a_load_is_followed_to_its_end_and_no_step_is_told_twice(fails: bool) -> None:
    pool = Pool()

    async def load() -> ModelStatus:
        for step in (0.25, 0.25, 0.25, 0.5):
            pool.tell(step)
            for _ in range(5):  # whoever listens has its turn
                await asyncio.sleep(0)
        if fails:
            raise LoadFailed("Still too much.")
        return pool.status

    steps = loaded_with(offer({"context": 2048}, ROW), pool, lambda *asked: asyncio.create_task(load()))
    heard: list[Chunk] = [chunk async for chunk in steps]
    progress = [Progress("queued", 0, 1), Progress("loading", 25, 100), Progress("loading", 50, 100)]
    assert heard[:-1] == progress
    assert isinstance(heard[-1], Failed if fails else Notice)
    assert pool.on_change == []

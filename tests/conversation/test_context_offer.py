"""A prompt that does not fit the context: when a larger one is offered, and how large."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from loaders import Registry
from modules.conversation.context_offer import STEP, overflow_offers
from modules.formats.facts import ModelFacts
from modules.models.status import ModelStatus
from modules.types import Endpoint, EngineInfo

ECHO = Registry().get("echo")
INFO = EngineInfo("m", "echo", 8192)
ERROR = {"code": "context_length_exceeded", "figures": {"prompt_tokens": 50_000, "needed": 50_512, "limit": 8192}}


def pool(trained: int | None = 131_072, verdict: str = "fits", info: EngineInfo | None = INFO) -> Any:
    """A pool whose model `m` is loaded with 8,192 tokens."""
    settings = ECHO.check_settings({"context": 8192, "speed": 5.0})
    estimating = SimpleNamespace(
        facts=lambda model: ModelFacts("gguf", context_length=trained),
        estimate=lambda model, spec, tried: SimpleNamespace(verdict=verdict),
    )
    planned = SimpleNamespace(model=SimpleNamespace(name="m"), spec=ECHO, settings=settings)
    status = ModelStatus("ready", "m", "echo", info=info, settings=settings)
    return SimpleNamespace(status=status, estimating=estimating, planned=lambda *asked: planned)


def test_the_message_can_be_edited_and_the_model_loaded_with_what_the_prompt_needs() -> None:
    edit, larger = overflow_offers(ERROR, "m1", pool())
    assert edit == {"kind": "edit_message", "message": "m1"}
    assert (larger["kind"], larger["model"], larger["loader"]) == ("reload", "m", "echo")
    assert larger["settings"]["context"] == 50 * STEP
    assert larger["settings"]["speed"] == 5.0
    (change,) = larger["changes"]
    assert (change["name"], change["was"], change["now"]) == ("context", "8,192", "51,200")


def test_all_that_the_model_was_trained_for_is_offered_where_the_next_step_is_beyond_it() -> None:
    assert overflow_offers(ERROR, None, pool(trained=50_600))[0]["settings"]["context"] == 50_600


@pytest.mark.parametrize(
    "models",
    [
        pool(trained=50_000),
        pool(verdict="too large"),
        pool(verdict="tight"),
        pool(info=replace(INFO, endpoint=Endpoint("http://localhost", "", "openai", hosted=False))),
        pool(info=replace(INFO, context=60_000)),  # loaded anew since
        pool(info=None),
        None,
    ],
)  # fmt: skip
def test_only_the_edit_is_offered_where_a_larger_context_would_not_do(models: Any) -> None:
    assert overflow_offers(ERROR, "m1", models) == [{"kind": "edit_message", "message": "m1"}]


def test_an_engine_that_gives_no_figures_leaves_the_edit() -> None:
    assert len(overflow_offers({"code": "context_length_exceeded"}, "m1", pool())) == 1

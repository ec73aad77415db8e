"""What clients are told of a model: a setting that the engine holds to another value is named."""

from __future__ import annotations

import pytest

from modules.models.status import ModelStatus
from modules.models.status_json import status_dict
from modules.types import Endpoint, EngineInfo


def status(given: int, used: int) -> ModelStatus:
    info = EngineInfo("m", "x", context=used, slots=1, chat_template=True, endpoint=Endpoint("", "", "echo"),
                      details={"context_why": "The model was trained for 8,192 tokens."})  # fmt: skip
    return ModelStatus("ready", "m", "x", info=info, settings={"context": given})


def test_a_context_that_was_cut_is_a_notice_with_both_values() -> None:
    (notice,) = status_dict(status(4_000_000, 8192))["notices"]
    assert (notice["code"], notice["param"]) == ("value_clamped", "context")
    assert (notice["given"], notice["used"]) == (4_000_000, 8192)
    assert "8,192" in notice["message"]


@pytest.mark.parametrize("given", [0, 8192])
def test_a_context_that_was_left_to_the_loader_or_kept_is_none(given: int) -> None:
    assert status_dict(status(given, 8192))["notices"] == []


def test_a_model_that_is_not_there_yet_has_none() -> None:
    assert status_dict(ModelStatus("starting", "m", "x", settings={"context": 5}))["notices"] == []

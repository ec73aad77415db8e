"""/api/hardware and /api/models/estimate over a running server, and loads with a fallback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modules.api.estimates import estimate_dict
from modules.estimates.values import Estimate, Share
from modules.hardware.values import Device, Hardware
from tests.conftest import LiveServer, Start
from tests.gguf_maker import write

GB = 1 << 30


@pytest.fixture
def with_model(server: Start, tmp_path: Path) -> LiveServer:
    """A server with a small GGUF file in its models folder."""
    folder = tmp_path / "data"
    write(folder / "models" / "tiny.gguf")
    return server(user_data=folder)


def test_the_machine_is_told_with_its_memory(shared_server: LiveServer) -> None:
    told = shared_server.call("GET", "/api/hardware")
    assert told["cores"] >= 1
    assert 0 < told["ram_free"] <= told["ram_total"]
    assert isinstance(told["devices"], list)
    assert isinstance(told["unknown"], list)


def test_an_estimate_names_its_parts_its_verdict_and_the_settings_it_was_made_for(with_model: LiveServer) -> None:
    told = with_model.call("POST", "/api/models/estimate", {"name": "tiny", "settings": {"context": 512}})
    assert told["loader"] == "llama.cpp"
    assert told["settings"]["context"] == 512
    assert told["verdict"] == "fits"
    share = told["shares"][0]
    assert share["sum"] == share["weights"] + share["kv_cache"] + share["compute"] + share["overhead"]
    assert share["device_free"] <= share["device_total"]
    assert told["total"] == share["sum"]
    assert told["factor"] == 1.0
    more = with_model.call("POST", "/api/models/estimate", {"name": "tiny", "settings": {"context": 2048}})
    assert more["shares"][0]["kv_cache"] == 4 * share["kv_cache"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "nothing like it"}, 404, "model_not_found"),
        ({"name": "echo", "settings": {"colour": 1}}, 400, "invalid_parameter"),
        ({"name": "echo", "loader": "llama.cpp"}, 400, "invalid_parameter"),
        ({"name": ""}, 400, "invalid_parameter"),
        ({}, 400, "invalid_parameter"),
    ],
)
def test_an_estimate_of_nothing_sensible_is_refused(
    shared_server: LiveServer, body: dict[str, Any], status: int, code: str
) -> None:
    answer = shared_server.http.post("/api/models/estimate", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_loader_that_cannot_say_is_no_error(shared_server: LiveServer) -> None:
    told = shared_server.call("POST", "/api/models/estimate", {"name": "echo"})
    assert (told["verdict"], told["shares"]) == ("unknown", [])


def test_a_failed_load_carries_what_would_fit_and_takes_it_when_asked(server: Start) -> None:
    live = server()
    tight = {"name": "echo", "settings": {"context": 2048, "fails_above": 1024}}
    answer = live.http.post("/api/models/load?wait=1", json=tight)
    assert answer.status_code == 500
    assert answer.json()["error"]["fallback"]["settings"]["context"] == 1024
    assert live.call("GET", "/api/state")["model"]["error"]["fallback"]["says"] == "The context is 1,024 tokens."
    status = live.call("POST", "/api/models/load?wait=1", tight | {"fallback": True})
    assert status["state"] == "ready"
    assert status["settings"]["context"] == 1024
    assert "The context is 1,024 tokens." in status["why"]


def test_shares_on_cards_are_told_with_the_cards_names_and_memory() -> None:
    machine = Hardware(8, 64 * GB, 32 * GB, (Device("cuda", 1, "Card B", 24 * GB, None),))
    shares = (Share("cpu", 1, 0, 0, 0), Share("cuda:1", 2, 3, 4, 5), Share("odd:0", 1, 0, 0, 0))
    told = estimate_dict(Estimate(shares, "fits", "It fits."), machine)["shares"]
    assert [(one["name"], one["device_free"]) for one in told] == [
        ("Memory", 32 * GB),
        ("Card B", None),
        ("odd:0", None),
    ]
    assert told[1]["sum"] == 14

"""What an engine's library says of its devices, from libraries that are made up, and from the real one."""

from __future__ import annotations

import types
from typing import Any

from modules.engine.device_probe import from_llama, from_torch
from modules.hardware.reader import run_probe


def torch(**parts: Any) -> Any:
    """A torch with these parts."""
    usual = {
        "__version__": "2.13.0", "version": types.SimpleNamespace(hip=None),
        "cuda": types.SimpleNamespace(is_available=lambda: False),
        "backends": types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False)),
    }  # fmt: skip
    return types.SimpleNamespace(**{**usual, **parts})


def cards() -> Any:
    """torch.cuda with one card."""
    facts = types.SimpleNamespace(name="Card A", total_memory=24, major=8, minor=9, gcnArchName="gfx1100:sramecc+")
    return types.SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, get_device_properties=lambda index: facts
    )


def test_torch_tells_cuda_rocm_metal_and_nothing() -> None:
    assert from_torch(torch())["devices"] == []
    cuda = from_torch(torch(cuda=cards()))["devices"][0]
    assert (cuda["kind"], cuda["capability"], cuda["total"]) == ("cuda", "8.9", 24)
    rocm = from_torch(torch(cuda=cards(), version=types.SimpleNamespace(hip="6.4")))["devices"][0]
    assert (rocm["kind"], rocm["capability"]) == ("rocm", "gfx1100")
    mps = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: True))
    assert from_torch(torch(backends=mps))["devices"][0]["kind"] == "metal"


def test_llama_cpp_tells_its_cards_and_not_the_processor() -> None:
    library = types.SimpleNamespace(get_device_info=lambda: [
        {"name": "CPU", "description": "a processor", "memory_total": 1},
        {"name": "CUDA1", "description": "Card B", "memory_total": 24},
        {"name": "Vulkan0", "description": "Card C", "memory_total": 8},
    ])  # fmt: skip
    found = [(one["kind"], one["index"], one["name"]) for one in from_llama(library)["devices"]]
    assert found == [("cuda", 1, "Card B"), ("vulkan", 0, "Card C")]


def test_a_library_that_is_not_there_is_an_answer() -> None:
    assert "KeyError" in run_probe("no_such_library")["error"]
    assert "devices" in run_probe("xllamacpp") or "error" in run_probe("xllamacpp")

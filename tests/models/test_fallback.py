"""With which settings a load that failed would fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loaders import Registry
from loaders.base import LoaderSpec, LoadParam
from modules.errors import LoadFailed
from modules.estimates.gguf import estimate_gguf
from modules.estimates.safetensors import estimate_safetensors
from modules.estimates.torch_fallback import TORCH_LADDER
from modules.estimates.values import Estimate
from modules.formats.facts import ModelFacts
from modules.models.fallback import Change, Fallback, find_fallback, looks_like_memory
from tests.estimates.making import GB, MB, big, machine, smol

LLAMA: LoaderSpec = Registry().get("llama.cpp")


def offered(facts: ModelFacts, hardware: Any, estimated: bool = True, **settings: Any) -> Fallback | None:
    complete = LLAMA.check_settings(settings)

    def estimate(tried: Any) -> Estimate | None:
        return estimate_gguf(facts, tried, hardware) if estimated else None

    return find_fallback(LLAMA, facts, complete, estimate)


def test_a_smaller_context_is_enough_where_the_cache_was_too_large() -> None:
    found = offered(big(), machine(free=19 * GB), context=65536)
    assert found is not None
    assert found.settings["context"] == 8192
    assert found.settings["cache_type_k"] == "f16"
    assert found.says == ("The context is 8,192 tokens.",)
    assert found.changes == (Change("context", "Context length", "65,536", "8,192"),)


def test_steps_are_taken_until_it_fits_and_the_last_word_on_each_counts() -> None:
    found = offered(smol(), machine(free=250 * MB), context=8192)
    assert found is not None
    assert int(found.settings["context"]) <= 4096  # type: ignore[call-overload]
    assert sum("The context is" in said for said in found.says) == 1
    assert estimate_gguf(smol(), found.settings, machine(free=250 * MB)).verdict == "fits"


def test_layers_leave_a_card_that_is_too_small_and_nothing_is_said_of_cards_without_one() -> None:
    found = offered(big(), machine(free=40 * GB, total=64 * GB, cards=(2 * GB,)), context=2048, gpu_layers=33)
    assert found is not None
    assert found.settings["gpu_layers"] == 0
    assert "The processor computes everything." in found.says
    assert Change("gpu_layers", "GPU layers", "33", "none") in found.changes
    without = offered(smol(), machine(free=100 * MB), context=8192)
    assert without is not None
    assert not any("card" in said or "processor" in said for said in without.says)
    assert without.settings["gpu_layers"] == -1


def test_a_load_that_failed_although_it_should_fit_is_made_clearly_smaller() -> None:
    first = estimate_gguf(smol(), LLAMA.check_settings({"context": 8192}), machine()).total
    found = offered(smol(), machine(), context=8192)
    assert found is not None
    assert estimate_gguf(smol(), found.settings, machine()).total < 0.86 * first


def test_without_an_estimate_one_step_is_taken() -> None:
    found = offered(smol(), machine(), estimated=False, context=8192)
    assert found is not None
    assert found.settings["context"] == 4096


def test_a_quantised_cache_is_not_offered_where_flash_attention_is_off() -> None:
    found = offered(smol(), machine(free=10 * MB), context=8192, flash_attention="off")
    assert found is not None
    assert found.settings["cache_type_v"] == "f16"


def test_nothing_is_offered_when_nothing_is_left_to_save() -> None:
    assert offered(smol(), machine(free=10 * MB), context=512, cache_type_k="q8_0", cache_type_v="q8_0",
                   ubatch_size=128) is None  # fmt: skip


TORCH = dataclasses.replace(
    LLAMA,
    params=(
        LoadParam("context", "int", 0, "Context", "", 0, 2**22),
        LoadParam("dtype", "choice", "auto", "Number type", "", choices=("auto", "float32", "bfloat16")),
        LoadParam("device", "choice", "auto", "Device", "", choices=("auto", "cpu", "cuda")),
        LoadParam("device_map", "choice", "off", "Spread", "", choices=("off", "auto")),
    ),
    ladder=TORCH_LADDER,
)


def torch_offered(hardware: Any, size: int, **settings: Any) -> Fallback | None:
    facts = dataclasses.replace(smol(quant="float32", weights=size), format="safetensors")
    complete = TORCH.check_settings(settings)
    return find_fallback(TORCH, facts, complete, lambda tried: estimate_safetensors(facts, tried, hardware))


def test_under_pytorch_numbers_get_shorter_before_the_card_is_left() -> None:
    found = torch_offered(machine(cards=(24 * GB,)), 30 * GB)  # a stated context would be counted higher
    assert found is not None
    assert (found.settings["dtype"], found.settings["device"]) == ("bfloat16", "auto")
    assert found.says == ("The weights are kept as bfloat16.",)


def test_under_pytorch_a_model_too_large_for_its_card_is_spread() -> None:
    found = torch_offered(machine(free=90 * GB, total=96 * GB, cards=(8 * GB,)), 60 * GB)
    assert found is not None
    assert found.settings["device_map"] == "auto"
    assert "spread over all devices" in found.says[-1]


@pytest.mark.parametrize(
    ("code", "log", "true"),
    [
        ("out_of_memory", "", True),
        (None, "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 9", True),
        (None, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", True),
        (None, "loading into memory", False),
    ],
)
def test_failures_for_want_of_memory_are_told_from_others(code: str | None, log: str, true: bool) -> None:
    assert looks_like_memory(LoadFailed("Whatever it says: out of memory.", code=code), log) is true

"""What ExLlama takes: weights and cache on the cards, in the order they fill up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loaders import exllamav2, exllamav3, llama_cpp_python
from modules.estimates.exllama import CARD_BYTES, STEPS, estimate_exllama
from modules.formats.facts import ModelFacts
from modules.hardware.values import Device, Hardware

GIB = 2**30
MODEL = ModelFacts("exl3", weights=5 * GIB, size=5 * GIB, layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128,
                   vocabulary=128_000, context_length=131_072, extra={"embedding_bytes": GIB})  # fmt: skip
CARD = Device("cuda", 0, "card", 8 * GIB, 8 * GIB, "8.9")
MACHINE = Hardware(8, 32 * GIB, 30 * GIB, (CARD,))
V3 = exllamav3.SPEC.check_settings({})


def test_weights_and_cache_go_to_the_card_and_embeddings_stay_in_main_memory() -> None:
    made = estimate_exllama(MODEL, V3, MACHINE)
    main, card = made.shares
    assert (main.device, main.weights, card.device, card.weights) == ("cpu", GIB, "cuda:0", 4 * GIB)
    assert card.kv_cache == 2 * 8 * 128 * 2 * 32 * 8192
    assert card.overhead == CARD_BYTES
    assert made.verdict == "fits"


def test_a_quantised_cache_takes_its_bits_and_its_scales() -> None:
    small = estimate_exllama(MODEL, {**V3, "cache_type_k": "q8", "cache_type_v": "q4"}, MACHINE).shares[1].kv_cache
    assert small == 8 * 128 * (8 / 8 + 4 / 8 + 2 * 2 / 32) * 32 * 8192
    settings = exllamav2.SPEC.check_settings({"cache_type": "q4"})
    assert estimate_exllama(MODEL, settings, MACHINE).shares[1].kv_cache == 2 * 8 * 128 * (0.5 + 2 / 32) * 32 * 8192


def test_what_is_too_large_for_one_card_goes_to_the_next_and_beyond_both_is_refused() -> None:
    two = replace(MACHINE, devices=(replace(CARD, free=3 * GIB), replace(CARD, index=1)))
    made = estimate_exllama(MODEL, V3, two)
    assert [share.device for share in made.shares] == ["cpu", "cuda:0", "cuda:1"]
    assert sum(share.weights + share.kv_cache for share in made.shares[1:]) == pytest.approx(5 * GIB, abs=8)
    assert made.shares[1].total < 3 * GIB
    assert estimate_exllama(replace(MODEL, weights=30 * GIB), V3, two).verdict == "too large"
    assert estimate_exllama(MODEL, V3, replace(MACHINE, devices=())).verdict == "unknown"


def test_each_step_makes_it_smaller_until_there_is_none() -> None:
    for settings in (V3, exllamav2.SPEC.check_settings({})):
        sizes = [estimate_exllama(MODEL, settings, MACHINE).total]
        for step in STEPS:
            settings = {**settings, **step.change(settings, MODEL)}
            sizes.append(estimate_exllama(MODEL, settings, MACHINE).total)
        assert sizes == sorted(set(sizes), reverse=True)
        assert settings["context"] == 2048
        assert step.change({**settings, "context": 512}, MODEL) == {}


def test_llama_cpp_python_puts_all_layers_on_the_card_unless_told_otherwise() -> None:
    estimate = llama_cpp_python.SPEC.estimate
    assert estimate is not None
    facts = replace(MODEL, format="gguf", arch="llama", weights=40 * GIB, size=40 * GIB)
    settings = llama_cpp_python.SPEC.check_settings({})
    assert estimate(facts, settings, MACHINE).verdict == "too large"
    roomy = replace(MACHINE, ram_total=64 * GIB, ram_free=60 * GIB)
    assert estimate(facts, {**settings, "gpu_layers": 0}, roomy).verdict == "fits"

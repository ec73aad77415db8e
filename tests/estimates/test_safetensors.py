"""Estimates of loads under Transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modules.estimates.safetensors import CARD_BYTES, ENGINE_BYTES, estimate_safetensors
from modules.formats.facts import ModelFacts
from tests.estimates.making import GB, MB, machine, smol


def model(**more: Any) -> ModelFacts:
    """SmolLM2-135M in 32-bit numbers."""
    extra = {"feed_forward": 1536, "embedding_bytes": 113 * MB, "output_bytes": 0}
    made = smol(quant="float32", weights=538 * 10**6, extra=extra, **more)
    return replace(made, format="safetensors")


def test_the_dtype_decides_how_large_the_weights_are() -> None:
    own = estimate_safetensors(model(), {"dtype": "auto"}, machine()).shares[0]
    half = estimate_safetensors(model(), {"dtype": "bfloat16"}, machine()).shares[0]
    assert own.weights == 538 * 10**6
    assert half.weights == own.weights // 2
    assert half.kv_cache == own.kv_cache // 2
    assert own.overhead == ENGINE_BYTES


@pytest.mark.parametrize(("name", "least", "most"), [("bitsandbytes-8bit", 0.35, 0.55), ("bitsandbytes-nf4", 0.2, 0.4)])
def test_quantising_while_loading_leaves_the_embeddings_as_they_are(name: str, least: float, most: float) -> None:
    whole = estimate_safetensors(model(), {"quantization": "none"}, machine()).shares[0].weights
    small = estimate_safetensors(model(), {"quantization": name}, machine()).shares[0].weights
    assert least * whole < small < most * whole
    assert small > 113 * MB


def test_a_quantisation_nobody_knows_is_said() -> None:
    estimate = estimate_safetensors(model(), {"quantization": "magic"}, machine())
    assert any("magic" in sentence for sentence in estimate.partial)


def test_what_does_not_fit_on_the_card_stays_in_main_memory() -> None:
    large = replace(model(), weights=30 * GB, size=30 * GB)
    one_card = machine(free=40 * GB, total=64 * GB, cards=(24 * GB,))
    estimate = estimate_safetensors(large, {"device_map": "auto"}, one_card)
    card = next(share for share in estimate.shares if share.device == "cuda:0")
    assert card.total <= 24 * GB
    assert card.overhead == CARD_BYTES
    assert estimate.shares[0].weights + card.weights == 30 * GB
    assert "stay in main memory" in estimate.why
    one = estimate_safetensors(large, {}, machine(free=40 * GB, total=64 * GB, cards=(24 * GB, 24 * GB)))
    assert one.verdict == "too large", "without spreading all of it goes to one card"
    only = estimate_safetensors(model(), {"device": "cpu"}, machine(cards=(24 * GB,)))
    assert [share.device for share in only.shares] == ["cpu"]


def test_a_cache_that_grows_is_said_with_the_tokens_it_was_counted_with() -> None:
    estimate = estimate_safetensors(model(), {}, machine())
    assert any("2,048 tokens" in sentence for sentence in estimate.partial)

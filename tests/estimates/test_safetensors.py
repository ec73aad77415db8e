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


@pytest.mark.parametrize(("name", "least", "most"), [("bnb-8bit", 0.35, 0.55), ("bnb-nf4", 0.2, 0.4)])
def test_quantising_while_loading_leaves_the_embeddings_as_they_are(name: str, least: float, most: float) -> None:
    card = machine(cards=(24 * GB,))
    whole = estimate_safetensors(model(), {"quantization": "none"}, card).shares[-1].weights
    small = estimate_safetensors(model(), {"quantization": name}, card).shares[-1].weights
    assert least * whole < small < most * whole
    assert small > 113 * MB


@pytest.mark.parametrize(
    ("name", "dtype", "measured"),
    [("bnb-8bit", "auto", 1228.1e6), ("bnb-nf4", "auto", 1124.4e6), ("bnb-8bit", "bfloat16", 820.2e6),
     ("bnb-nf4", "bfloat16", 616.2e6)],
)  # fmt: skip
def test_quantising_on_a_processor_keeps_the_pages_of_the_original_unless_its_numbers_are_converted(
    name: str, dtype: str, measured: float
) -> None:
    estimate = estimate_safetensors(model(), {"quantization": name, "dtype": dtype, "context": 1024}, machine())
    assert estimate.total == pytest.approx(measured, rel=0.1)
    assert any("original" in sentence for sentence in estimate.partial) is (dtype == "auto")


@pytest.mark.parametrize(
    ("stored", "dtype", "stays"),
    [("F32", "float32", True), ("BF16", "auto", True), ("float16", "auto", False), ("F16", "float16", True),
     ("bfloat16", "float16", False)],
)  # fmt: skip
def test_the_original_stays_mapped_where_the_number_type_stays(stored: str, dtype: str, stays: bool) -> None:
    settings = {"quantization": "bnb-nf4", "dtype": dtype, "context": 1024}
    estimate = estimate_safetensors(replace(model(), quant=stored), settings, machine())
    assert (estimate.shares[0].weights > 538 * 10**6) is stays


def test_of_a_table_of_embeddings_that_is_read_in_place_only_the_rows_in_use_count() -> None:
    settings = {"quantization": "bnb-nf4", "context": 1024}
    tied = estimate_safetensors(model(), settings, machine()).shares[0].weights
    apart = replace(model(), extra={**model().extra, "output_bytes": 113 * MB})
    layers = 0.56 / 4 * 113 * MB  # as many weights of the layers fewer are quantised
    assert estimate_safetensors(apart, settings, machine()).shares[0].weights == pytest.approx(tied - 113 * MB - layers)


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"context": 1024}, 1058.8e6),
        ({"context": 4096}, 1286.2e6),
        ({"context": 1024, "dtype": "bfloat16"}, 756.3e6),
        ({"context": 2048, "batch_size": 1024}, 1164.3e6),
    ],
)
def test_a_small_model_on_a_processor_is_within_ten_percent_of_what_was_measured(
    settings: dict[str, Any], measured: float
) -> None:
    assert estimate_safetensors(model(), settings, machine()).total == pytest.approx(measured, rel=0.1)


def test_a_processor_copies_the_output_matrix_of_bfloat16_numbers() -> None:
    gemma = replace(model(), quant="bfloat16", weights=536 * MB, vocabulary=262_144, hidden=640,
                    extra={"feed_forward": 2048, "embedding_bytes": 336 * MB, "output_bytes": 0})  # fmt: skip
    on_processor, on_card = (
        estimate_safetensors(gemma, {"dtype": "auto", "context": 512}, on).shares[-1].compute
        for on in (machine(), machine(cards=(24 * GB,)))
    )
    assert on_processor - on_card == 336 * MB


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

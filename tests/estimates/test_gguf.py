"""Estimates of GGUF loads against the sizes llama.cpp prints, and how layers are put on cards."""

from __future__ import annotations

from typing import Any

import pytest

from modules.estimates import gguf_parts as parts
from modules.estimates.gguf import KEPT_FREE, estimate_gguf
from modules.formats.facts import ModelFacts
from modules.hardware.values import Hardware
from tests.estimates.making import AVX2, GB, MB, big, machine, smol

USUAL: dict[str, Any] = {
    "context": 2048, "parallel": 4, "batch_size": 512, "ubatch_size": 512, "cache_type_k": "f16", "cache_type_v": "f16",
    "flash_attention": "auto", "mmap": True, "gpu_layers": -1,
}  # fmt: skip


def kv(facts: ModelFacts, **settings: Any) -> int:
    shape = parts.shape_of(facts)
    assert shape is not None
    used = USUAL | settings
    return parts.kv_cache(facts, shape, used, used["context"])


def compute(facts: ModelFacts, **settings: Any) -> float:
    """MiB, without what the processor needs to copy a matrix's input."""
    shape = parts.shape_of(facts)
    assert shape is not None
    used = USUAL | settings
    return parts.compute(shape, used, used["context"]) / MB


@pytest.mark.parametrize(
    ("settings", "mib"),
    [
        ({"context": 512}, 11.25),
        ({"context": 4096}, 90.0),
        ({"context": 2048, "cache_type_k": "q8_0", "cache_type_v": "q8_0"}, 23.906),
        ({"context": 2048, "cache_type_v": "q4_0"}, 22.5 + 22.5 * 18 / 64),
        ({"context": 300}, 11.25),  # kept in steps of 256 tokens
    ],
)
def test_the_kv_cache_is_as_large_as_llama_cpp_prints_it(settings: dict[str, Any], mib: float) -> None:
    assert kv(smol(), **settings) / MB == pytest.approx(mib, abs=0.01)


def test_layers_with_a_sliding_window_keep_the_window_of_every_slot_and_a_batch() -> None:
    gemma = smol(kv_heads=1, head_dim=256, extra={"key_length": 256, "value_length": 256}, layers=12, kv_layers=2,
                 window_layers=10, window=512)  # fmt: skip
    row = 2 * 256 * 2
    assert kv(gemma, context=4096) == row * (2 * 4096 + 10 * 2560)  # 4 slots x 512 + 512, as llama.cpp printed it
    assert kv(gemma, context=4096, swa_full=True) == row * 12 * 4096
    assert kv(gemma, context=1024) == row * 12 * 1024


def test_hybrids_count_the_layers_that_attend_and_a_state_for_every_slot() -> None:
    hybrid = smol(kv_layers=6, extra={"recurrent_layers": 24, "conv_kernel": 4, "state_size": 128, "inner_size": 1152,
                                      "state_groups": 1})  # fmt: skip
    state = 4 * 24 * (3 * (1152 + 2 * 128) + 128 * 1152)
    assert kv(hybrid, parallel=1) == 6 * 2048 * 2 * 192 * 2 + state
    assert kv(hybrid, parallel=4) - kv(hybrid, parallel=1) == 3 * state


def test_one_latent_vector_for_keys_and_values_is_counted_once() -> None:
    latent = smol(kv_heads=1, extra={"kv_lora_rank": 512, "key_length": 576, "value_length": 512})
    assert kv(latent) == 30 * 2048 * 576 * 2


@pytest.mark.parametrize(
    ("facts", "settings", "mib"),
    [
        (smol(), {"context": 512}, 15.14),
        (smol(), {"context": 2048}, 16.64),
        (smol(), {"context": 2048, "ubatch_size": 2048, "batch_size": 2048}, 66.57),
        (smol(), {"context": 4096, "ubatch_size": 64, "flash_attention": "off"}, 10.94),
        (smol(hidden=512, heads=8, kv_heads=2, extra={"feed_forward": 6144}), {"context": 2048}, 43.02),
        (smol(hidden=512, heads=8, kv_heads=2, extra={"experts_used": 4, "expert_feed_forward": 256}),
         {"context": 2048}, 13.02),
    ],
)  # fmt: skip
def test_computing_buffers_are_at_least_as_large_as_llama_cpp_prints_them(
    facts: ModelFacts, settings: dict[str, Any], mib: float
) -> None:
    # The processor's copies of a matrix's input come on top; llama.cpp does not print them.
    assert mib * 0.98 <= compute(facts, **settings) <= mib * 1.5 + 1


def test_a_smaller_micro_batch_takes_less_and_the_batch_bounds_it() -> None:
    assert compute(smol(), ubatch_size=64) < compute(smol()) / 5
    assert compute(smol(), ubatch_size=4096, batch_size=512) == compute(smol())


def test_weights_laid_out_anew_are_there_twice_with_a_mapped_file() -> None:
    q4 = smol(quant="Q4_0", weights=72 * MB, extra={"bytes_Q4_0": 72 * MB})
    assert parts.repacked(q4, AVX2, mapped=True) == 72 * MB
    assert parts.repacked(q4, AVX2, mapped=False) == 30 * MB  # only the matrix that is input and output
    assert parts.repacked(q4, ("sse4_2",), mapped=True) == 0
    assert parts.repacked(smol(extra={"bytes_Q4_1": 92 * MB}), AVX2, mapped=True) == 0


def test_the_whole_of_the_starter_model_is_within_five_percent_of_what_was_measured() -> None:
    for settings, measured in (({"context": 512}, 195.9e6), ({"context": 2048}, 234.4e6), ({"context": 8192}, 376.8e6)):
        estimate = estimate_gguf(smol(), USUAL | settings, machine())
        assert estimate.total == pytest.approx(measured, rel=0.05)


def test_context_nought_is_what_the_model_was_trained_for_and_no_more_than_usual() -> None:
    assert estimate_gguf(smol(), USUAL | {"context": 0}, machine()).shares[0].kv_cache == kv(smol(), context=8192)
    long = smol(context_length=131072)
    assert estimate_gguf(long, USUAL | {"context": 0}, machine()).shares[0].kv_cache == kv(smol(), context=8192)
    short = smol(context_length=2048)
    assert estimate_gguf(short, USUAL | {"context": 8192}, machine()).shares[0].kv_cache == kv(smol(), context=2048)


def test_an_embedding_model_computes_a_whole_text_at_once() -> None:
    text = estimate_gguf(smol(context_length=512), USUAL | {"context": 0, "ubatch_size": 64}, machine())
    vectors = estimate_gguf(smol(kind="embedding", context_length=512),
                            USUAL | {"context": 0, "ubatch_size": 64}, machine())  # fmt: skip
    assert vectors.shares[0].compute > 4 * text.shares[0].compute


# ── on cards ────────────────────────────────────────────────────────────────────────────────────────


def test_as_many_layers_go_to_the_card_as_fit_beside_what_stays_free() -> None:
    estimate = estimate_gguf(big(), USUAL, machine(cards=(10 * GB,)))
    card = next(share for share in estimate.shares if share.device == "cuda:0")
    assert card.total <= 10 * GB - KEPT_FREE
    assert card.total > 10 * GB - KEPT_FREE - 600 * MB, "one more layer would not have fitted"
    assert "of 32 layers fit on Card 0; the others stay in main memory" in estimate.why
    assert estimate.shares[0].weights + card.weights == 16 * GB
    assert estimate.verdict == "fits"


def test_all_layers_on_a_large_card_leave_only_the_input_in_main_memory() -> None:
    estimate = estimate_gguf(big(), USUAL, machine(cards=(70 * GB,)))
    assert estimate.why.startswith("All 32 layers go to Card 0.")
    assert estimate.shares[0].weights == 1 * GB
    assert estimate.shares[0].kv_cache == 0


def test_no_layers_asked_for_stay_in_main_memory() -> None:
    estimate = estimate_gguf(big(), USUAL | {"gpu_layers": 0}, machine(cards=(70 * GB,)))
    assert [share.device for share in estimate.shares] == ["cpu"]


def test_asked_for_layers_that_do_not_fit_are_too_large() -> None:
    estimate = estimate_gguf(big(), USUAL | {"gpu_layers": 99}, machine(cards=(10 * GB,)))
    assert estimate.verdict == "too large"
    assert "Card 0" in estimate.why


def test_two_cards_share_the_layers_by_free_memory_or_as_set() -> None:
    even = estimate_gguf(big(), USUAL, machine(cards=(40 * GB, 40 * GB)))
    one, two = (next(share for share in even.shares if share.device == f"cuda:{at}") for at in (0, 1))
    assert abs(one.weights - two.weights) <= 1 * GB + 448 * MB
    set_ = estimate_gguf(big(), USUAL | {"tensor_split": "3,1"}, machine(cards=(40 * GB, 40 * GB)))
    assert next(share for share in set_.shares if share.device == "cuda:0").weights > 1.2 * one.weights


def test_experts_kept_on_the_processor_are_counted_there() -> None:
    moe = big(extra={"expert_bytes": (400 * MB,) * 32})
    estimate = estimate_gguf(moe, USUAL | {"gpu_layers": 99, "cpu_moe": -1}, machine(cards=(10 * GB,)))
    assert estimate.shares[0].weights == 1 * GB + 32 * 400 * MB
    assert estimate.verdict == "fits"


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("free", "verdict"), [(20 * GB, "fits"), (230 * MB, "tight"), (200 * MB, "too large")])
def test_the_verdict_follows_what_is_free(free: int, verdict: str) -> None:
    estimate = estimate_gguf(smol(), USUAL, machine(free=free))
    assert estimate.verdict == verdict
    assert "MB" in estimate.why


def test_memory_that_is_not_known_is_no_verdict() -> None:
    assert estimate_gguf(smol(), USUAL, Hardware(8, 0, 0)).verdict == "unknown"


def test_a_file_that_says_little_is_counted_by_its_size_and_says_so() -> None:
    estimate = estimate_gguf(ModelFacts("gguf", size=5 * GB), USUAL, machine())
    assert 5 * GB < estimate.total < 5.2 * GB
    assert any("too little" in sentence for sentence in estimate.partial)
    assert any("as large as the file" in sentence for sentence in estimate.partial)


def test_files_that_go_with_the_model_are_counted() -> None:
    more = estimate_gguf(smol(extra={"companion_bytes": 100 * MB}), USUAL, machine()).total
    assert more - estimate_gguf(smol(), USUAL, machine()).total == 100 * MB

"""Mutated files of every format but GGUF raise nothing and hang nothing. Long form: tests/faults/model_mutations.py."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modules.formats.detect import detect
from modules.formats.facts import ModelFacts
from tests.faults.model_mutations import run
from tests.model_maker import LLAMA_CONFIG, hf_folder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from([
    *LLAMA_CONFIG, "layer_types", "sliding_window", "text_config", "quantization_config", "quantization", "id2label",
    "auto_map", "hybrid_override_pattern", "attn_layer_indices", "attn_layer_period", "full_attention_interval",
    "sliding_window_pattern", "max_window_layers", "num_kv_shared_layers", "vision_config", "audio_config",
    "thinker_config", "head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "multi_query",
])  # fmt: skip


def test_mutated_files_crash_nothing_and_hang_nothing() -> None:
    result = run(500, seed=1)
    assert result.wrong == []
    assert result.count == 500
    assert result.peak_bytes < 50 * 1024 * 1024
    assert result.refused > 100  # otherwise the mutations do not reach the checks
    assert result.accepted > 20  # otherwise they are all caught by the first one


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=st.dictionaries(FIELDS, JSON, max_size=6))
def test_a_config_may_say_anything(tmp_path_factory: Any, values: dict[str, Any]) -> None:
    folder = tmp_path_factory.getbasetemp() / "any_config"
    if not folder.exists():
        hf_folder(folder)
    (folder / "config.json").write_text(json.dumps({**LLAMA_CONFIG, **values}))
    facts = detect(folder)
    assert isinstance(facts, ModelFacts)
    for name in (
        "layers",
        "hidden",
        "heads",
        "kv_heads",
        "head_dim",
        "vocabulary",
        "kv_layers",
        "window",
        "context_length",
    ):
        value = getattr(facts, name)
        assert value is None or (type(value) is int and value >= 0)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_safetensors_header_may_be_anything(tmp_path_factory: Any, body: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(struct.pack("<Q", len(body) + 1) + b"{" + body + b"\0" * 64)
    assert detect(path).reason


def test_a_header_of_promised_or_real_megabytes_ends_in_time(tmp_path: Path) -> None:
    for length, filler in ((2**39, b""), (31 * 2**20, b" " * 2**20), (31 * 2**20, b'"a":{"dtype":"F32",' * 50_000)):
        path = tmp_path / "x.safetensors"
        path.write_bytes(struct.pack("<Q", length) + b"{" + filler)
        with path.open("ab") as file:
            file.truncate(2**34)
        started = time.thread_time()
        assert detect(path).reason
        assert time.thread_time() - started < 2


def test_a_header_that_would_make_a_pattern_try_for_ever_does_not(tmp_path: Path) -> None:
    for filler in (
        b'"' + b"\\\\" * 500_000,
        b'"a":{' + b'"x"' * 500_000,
        b'"a":{"' + b"\\" * 1_000_001,
        b" " * 1_000_000,
    ):
        raw = b"{" + filler
        (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
        started = time.thread_time()
        assert "not the JSON" in detect(tmp_path / "x.safetensors").reason
        assert time.thread_time() - started < 1


def test_an_index_and_a_card_of_any_size_are_searched_in_bounds(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "m", parts=2)
    names = b",".join(b'"t%d": "model-%05d-of-99999.safetensors"' % (n, n) for n in range(200_000))
    (folder / "model.safetensors.index.json").write_bytes(b'{"weight_map": {' + names + b"}}")
    (folder / "README.md").write_bytes(b"---\n" + b"- x\n" * 1_000_000)
    started = time.thread_time()
    assert "missing" in detect(folder).reason
    assert time.thread_time() - started < 2

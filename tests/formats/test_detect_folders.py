"""What a folder is, is seen by its content: its parts, what it lacks, what it is for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modules.formats.detect import detect
from tests.formats.test_detect import said
from tests.gguf_maker import LLAMA
from tests.gguf_maker import write as gguf
from tests.model_maker import (
    LFS,
    LLAMA_CONFIG,
    LLAMA_TENSORS,
    PAGE,
    hf_folder,
    peft_folder,
    safetensors,
    torch_zip,
)

PIPELINE = '{"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}'


def test_a_folder_gives_the_same_facts_in_one_part_and_in_three(tmp_path: Path) -> None:
    one, three = detect(hf_folder(tmp_path / "one")), detect(hf_folder(tmp_path / "three", parts=3))
    assert (one.format, one.arch, one.quant, one.reason) == ("safetensors", "LlamaForCausalLM", "bfloat16", "")
    assert (one.layers, one.hidden, one.heads, one.kv_heads, one.head_dim, one.vocabulary) == (2, 64, 8, 2, 8, 96)
    assert (one.context_length, one.kv_layers, one.window) == (2048, 2, None)
    assert one.extra["block_bytes"] == three.extra["block_bytes"] == (2 * (64 * 64 + 16 * 64),) * 2
    assert (one.weights, one.parameters) == (three.weights, three.parameters)
    assert one.extra["output_bytes"] == 2 * 96 * 64
    assert three.reason == ""


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "m", parts=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "model-00002-of-00003.safetensors" in detect(folder).reason


def test_a_folder_cloned_without_lfs_says_so(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "m", parts=2)
    for path in folder.glob("*.safetensors"):
        path.write_text(LFS)
    facts = detect(folder)
    assert facts.format == "lfs-pointer"
    assert "2 of 2 files" in facts.reason
    assert "git lfs pull" in facts.hint
    assert facts.layers == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text(PAGE), "web page"),
        (lambda folder: (folder / "config.json").write_text("{}"), "does not say what model"),
        (lambda folder: (folder / "config.json").write_text("[" * 40_000), "not JSON"),
        (lambda folder: (folder / "config.json").write_text("[" * 60_000), "far larger"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights in this folder"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "tf_model.h5"), "TensorFlow"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "tokenizer is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(safetensors()[:-4]), "cut short"),
    ],
)
def test_what_a_folder_lacks_is_said(tmp_path: Path, change: Callable[[Path], Any], words: str) -> None:
    folder = hf_folder(tmp_path / "m")
    change(folder)
    assert words in said(detect(folder))


def test_a_pickle_beside_safetensors_is_left_alone_and_alone_is_refused(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(torch_zip())
    assert detect(folder).format == "safetensors"
    (folder / "model.safetensors").unlink()
    facts = detect(folder)
    assert (facts.format, facts.layers) == ("pickle", 2)
    assert "Pickle" in facts.reason
    (folder / "pytorch_model.bin").write_text(PAGE)
    assert "web page" in detect(folder).reason


def test_an_adapter_folder_is_an_adapter(tmp_path: Path) -> None:
    facts = detect(peft_folder(tmp_path / "lora"))
    assert (facts.kind, facts.format, facts.base, facts.extra["rank"]) == ("adapter", "safetensors", "maker/Tiny", 4)
    assert "LoRA adapter" in facts.reason
    (tmp_path / "lora/adapter_model.safetensors").unlink()
    assert "missing" in detect(tmp_path / "lora").reason


@pytest.mark.parametrize(
    ("config", "files", "kind"),
    [
        ({"architectures": ["BertModel"], "model_type": "bert"}, {"modules__json": "[]"}, "embedding"),
        ({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}, {"modules__json": "[]"}, "embedding"),
        ({"architectures": ["XLMRobertaForSequenceClassification"], "id2label": {"0": "x"}}, {}, "reranker"),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}, {}, "classifier"),
        ({"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}, {}, "speech"),
        ({"architectures": ["CLIPModel"], "model_type": "clip"}, {}, "other"),
        ({}, {"model_index__json": PIPELINE}, "model"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, {}, "model"),
    ],
)
def test_folders_for_other_purposes_say_which(
    tmp_path: Path, config: dict[str, Any], files: dict[str, str], kind: str
) -> None:
    facts = detect(hf_folder(tmp_path / "m", config={**LLAMA_CONFIG, **config}, **files))
    assert facts.kind == kind
    assert bool(facts.reason) == (kind not in ("model", "embedding", "reranker"))


def test_a_model_with_eyes_and_ears_takes_its_dimensions_from_the_text_part(tmp_path: Path) -> None:
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "vision_config": {"x": 1},
              "audio_config": {}, "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
              "num_hidden_layers": 34, "sliding_window": 1024}}  # fmt: skip
    facts = detect(hf_folder(tmp_path / "m", config=config, tokenizer={"chat_template": "{{ messages }}"}))
    assert facts.capabilities == ("images", "audio", "template")
    assert (facts.hidden, facts.heads, facts.kv_heads, facts.head_dim) == (2560, 8, 4, 256)
    assert (facts.kv_layers, facts.window, facts.window_layers) == (5, 1024, 29)


@pytest.mark.parametrize(
    ("config", "full", "window", "state"),
    [
        ({"layer_types": ["linear_attention", "full_attention"]}, 1, 0, 1),
        ({"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9}, 1, 1, 0),
        ({"sliding_window": 4096, "use_sliding_window": False}, 2, 0, 0),
        ({"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 1}, 1, 1, 0),
        ({"hybrid_override_pattern": "M*"}, 1, 0, 1),
        ({"attn_layer_period": 2, "attn_layer_offset": 1}, 1, 0, 1),
        ({"sliding_window": None}, 2, 0, 0),
    ],
)  # fmt: skip
def test_layers_of_a_folder_are_told_apart(
    tmp_path: Path, config: dict[str, Any], full: int, window: int, state: int
) -> None:
    facts = detect(hf_folder(tmp_path / "m", config={**LLAMA_CONFIG, **config}))
    assert (facts.kv_layers, facts.window_layers, facts.extra.get("recurrent_layers", 0)) == (full, window, state)


def test_a_folder_of_tensorrt_says_its_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "trt"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"pretrained_config": {"architecture": "LlamaForCausalLM", "num_hidden_layers": 3, "dtype": "float16"},'
        ' "build_config": {"max_seq_len": 512}}'
    )
    (folder / "rank0.engine").write_bytes(b"ftrt" + b"\0" * 60)
    facts = detect(folder)
    assert (facts.format, facts.arch, facts.layers, facts.context_length) == (
        "tensorrt-llm",
        "LlamaForCausalLM",
        3,
        512,
    )
    assert facts.reason == ""


def test_parts_of_a_split_gguf_are_summed_up_and_found_by_themselves(tmp_path: Path) -> None:
    for number in (1, 2):
        meta = {**(LLAMA if number == 1 else {}), "split.no": number - 1, "split.count": 2}
        gguf(tmp_path / f"b[1]-{number:05}-of-00002.gguf", metadata=meta,
             tensors=[(f"blk.{number - 1}.w", (64,), 0)])  # fmt: skip
    facts = detect(tmp_path / "b[1]-00001-of-00002.gguf")
    assert (facts.parameters, facts.extra["block_bytes"], facts.reason) == (128, (256, 256), "")


def test_every_tensor_of_a_model_is_counted_once(tmp_path: Path) -> None:
    facts = detect(hf_folder(tmp_path / "m"))
    extra = facts.extra
    outside = sum(int(extra[name]) for name in ("embedding_bytes", "output_bytes", "other_bytes"))  # type: ignore[arg-type]
    assert sum(extra["block_bytes"]) + outside == facts.weights  # type: ignore[arg-type]
    assert facts.parameters == sum(_count(shape) for _, shape in LLAMA_TENSORS.values())


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(20)
def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    os.mkfifo(tmp_path / "pytorch_model.bin")
    assert detect(tmp_path).reason

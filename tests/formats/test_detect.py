"""What a file or folder is, is seen by its content; whatever cannot run says why, and what to do."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modules.formats.detect import UNREADABLE, detect
from modules.formats.facts import ModelFacts
from modules.formats.problems import Reason
from tests.gguf_maker import LLAMA, make
from tests.gguf_maker import write as gguf
from tests.model_maker import (
    LFS,
    ONNX,
    PAGE,
    hf_folder,
    old_ggml,
    safetensors,
    torch_legacy,
    torch_zip,
)


def file(folder: Path, name: str, content: bytes | str) -> ModelFacts:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return detect(path)


def said(facts: ModelFacts) -> str:
    return f"{facts.reason} {facts.hint}"


def test_a_gguf_model_gives_its_dimensions_and_its_bytes_by_block(tmp_path: Path) -> None:
    tensors = [("token_embd.weight", (64, 96), 0), ("blk.0.attn_q.weight", (64, 64), 0),
               ("blk.1.attn_q.weight", (64, 64), 0), ("blk.1.ffn_up_exps.weight", (64, 64, 2), 0),
               ("output_norm.weight", (64,), 0), ("output.weight", (64, 96), 0)]  # fmt: skip
    facts = detect(gguf(tmp_path / "x.gguf", metadata={**LLAMA, "llama.block_count": 2}, tensors=tensors))
    assert (facts.format, facts.kind, facts.arch, facts.reason) == ("gguf", "model", "llama", "")
    assert (facts.layers, facts.hidden, facts.heads, facts.kv_heads, facts.head_dim) == (2, 64, 8, 2, 8)
    assert (facts.kv_layers, facts.window, facts.window_layers) == (2, None, 0)
    assert facts.extra["block_bytes"] == (4 * 64 * 64, 4 * 64 * 64 * 3)
    assert facts.extra["expert_bytes"] == (0, 4 * 64 * 64 * 2)
    assert (facts.extra["embedding_bytes"], facts.extra["output_bytes"]) == (4 * 64 * 96, 4 * 64 * 96)
    assert facts.extra["other_bytes"] == 4 * 64
    assert facts.weights == 4 * (2 * 64 * 96 + 64 * 64 * 4 + 64)


@pytest.mark.parametrize(
    ("meta", "full", "window", "state"),
    [
        ({"general.architecture": "gemma3", "gemma3.block_count": 12, "gemma3.attention.sliding_window": 512},
         2, 10, 0),
        ({"general.architecture": "gemma2", "gemma2.block_count": 4, "gemma2.attention.sliding_window": 64}, 2, 2, 0),
        ({"general.architecture": "phi3", "phi3.block_count": 4, "phi3.attention.sliding_window": 64}, 4, 0, 0),
        ({"general.architecture": "x", "x.block_count": 3, "x.attention.sliding_window": 8,
          "x.attention.sliding_window_pattern": [True, False, True]}, 1, 2, 0),
        ({"general.architecture": "jamba", "jamba.block_count": 4, "jamba.attention.head_count_kv": [0, 8, 0, 0]},
         1, 0, 3),
        ({"general.architecture": "qwen3next", "qwen3next.block_count": 8}, 2, 0, 6),
        ({"general.architecture": "mamba", "mamba.block_count": 5}, 0, 0, 5),
        ({"general.architecture": "glm4moe", "glm4moe.block_count": 5, "glm4moe.nextn_predict_layers": 1}, 4, 0, 0),
        ({"general.architecture": "gemma3n", "gemma3n.block_count": 10, "gemma3n.attention.shared_kv_layers": 4},
         6, 0, 0),
    ],
)  # fmt: skip
def test_layers_that_keep_everything_a_window_or_a_state_are_told_apart(
    tmp_path: Path, meta: dict[str, Any], full: int, window: int, state: int
) -> None:
    facts = detect(gguf(tmp_path / "x.gguf", metadata=meta))
    assert (facts.kv_layers, facts.window_layers, facts.extra.get("recurrent_layers", 0)) == (full, window, state)
    assert (facts.window is None) == (window == 0)


def test_heads_with_a_stated_length_are_believed(tmp_path: Path) -> None:
    facts = detect(gguf(tmp_path / "x.gguf", metadata={**LLAMA, "llama.attention.key_length": 40,
                                                       "llama.attention.value_length": 24}))  # fmt: skip
    assert (facts.head_dim, facts.extra["key_length"], facts.extra["value_length"]) == (40, 40, 24)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", ("template",)),
        ("{% if tools %}{{ tools }}{% endif %}", ("template", "tools")),
        ("{% if enable_thinking %}<think>{% endif %}", ("template", "thinking")),
        ("", ()),
    ],
)
def test_what_chats_can_have_is_read_from_the_template(
    tmp_path: Path, template: str, expected: tuple[str, ...]
) -> None:
    assert detect(gguf(tmp_path / "x.gguf", metadata={**LLAMA, "tokenizer.chat_template": template})).capabilities == (
        expected
    )


def test_a_vocabulary_with_marks_for_the_middle_says_so_wherever_they_stand(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(5000)]
    for at in (3, 2500, 4990):
        there = [*words[:at], "<|fim_prefix|>", *words[at:]]
        facts = detect(gguf(tmp_path / f"{at}.gguf", metadata={**LLAMA, "tokenizer.ggml.tokens": there}))
        assert "fill in the middle" in facts.capabilities
        assert facts.vocabulary == 5001
    assert (
        "fill in the middle"
        not in detect(gguf(tmp_path / "none.gguf", metadata={**LLAMA, "tokenizer.ggml.tokens": words})).capabilities
    )


def test_languages_are_codes_however_they_are_written(tmp_path: Path) -> None:
    meta = {**LLAMA, "general.languages": ["en", "DE", "French", "pt-BR", "code", "multilingual", "en"]}
    assert detect(gguf(tmp_path / "x.gguf", metadata=meta)).languages == ("en", "de", "fr", "pt")
    card = "---\nlanguage:\n- en\n- zh\nlicense: mit\ntags: [chat]\n---\n# Model\nlanguage: xx\n"
    assert detect(hf_folder(tmp_path / "a", README__md=card)).languages == ("en", "zh")
    assert detect(hf_folder(tmp_path / "b", README__md="---\nlanguage: de\n---\n")).languages == ("de",)
    assert detect(hf_folder(tmp_path / "c", README__md="no block\nlanguage: de\n")).languages == ()


@pytest.mark.parametrize(
    ("meta", "kind", "capability"),
    [
        ({**LLAMA, "general.architecture": "bert"}, "embedding", "embeddings"),
        ({**LLAMA, "llama.pooling_type": 3}, "embedding", "embeddings"),
        ({**LLAMA, "general.architecture": "bert", "bert.pooling_type": 4}, "reranker", "rerank"),
        ({"general.architecture": "clip", "clip.has_vision_encoder": True}, "mmproj", "images"),
        ({"general.architecture": "clip", "clip.has_audio_encoder": True}, "mmproj", "audio"),
    ],
)
def test_gguf_files_for_other_purposes_say_which(
    tmp_path: Path, meta: dict[str, Any], kind: str, capability: str
) -> None:
    facts = detect(gguf(tmp_path / "x.gguf", metadata=meta))
    assert (facts.kind, facts.capabilities) == (kind, (capability,))


def test_a_control_vector_and_an_adapter_say_what_they_were_made_for(tmp_path: Path) -> None:
    vector = detect(gguf(tmp_path / "v.gguf", metadata={"general.architecture": "controlvector",
                                                        "controlvector.model_hint": "llama"},
                         tensors=[("direction.1", (64,), 0)]))  # fmt: skip
    assert (vector.kind, vector.base, vector.extra["widths"]) == ("control-vector", "llama", (64,))
    adapter = detect(gguf(tmp_path / "a.gguf", metadata={"general.architecture": "llama", "adapter.type": "lora",
                                                         "general.type": "adapter"},
                          tensors=[("blk.0.attn_q.weight.lora_a", (64, 4), 0)]))  # fmt: skip
    assert (adapter.kind, adapter.arch) == ("adapter", "llama")
    assert 64 in adapter.extra["widths"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("magic", "kind", "code"),
    [
        (b"tjgg", "model", Reason.OLD_GGML),
        (b"fmgg", "model", Reason.OLD_GGML),
        (b"lmgg", "model", Reason.OLD_GGML),
        (b"ccgg", "model", Reason.OLD_GGML),
        (b"algg", "adapter", Reason.OLD_ADAPTER),
        (b"nsgg", "other", Reason.OLD_SESSION),
    ],
)
def test_files_from_before_gguf_are_named_with_the_way_to_convert(
    tmp_path: Path, magic: bytes, kind: str, code: Reason
) -> None:
    facts = file(tmp_path, "ggml-model-q4_0.bin", old_ggml(magic, 32000, 4096, 256, 32, 32, 128, 2))
    assert facts.problem is not None
    assert (facts.format, facts.kind, facts.problem.code) == ("ggml", kind, code)
    assert "GGUF" in said(facts) or kind == "other"


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("model.gguf", b"GGUF")
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.gguf"))
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "fmt", "words"),
    [
        ("x.gguf", LFS, "lfs-pointer", "git lfs pull"),
        ("x.safetensors", LFS, "lfs-pointer", "Git LFS pointer"),
        ("x.safetensors", PAGE, "web-page", "web page saved as .safetensors"),
        ("x.gguf", "Entry not found", "web-page", "error message"),
        ("x.gguf", "", "unknown", "empty"),
        ("x.safetensors", b"\0" * 3000, "unknown", "zeros"),
        ("x.gguf", gzip.compress(b"GGUF", mtime=0), "unknown", "gzip"),
        ("x.tar", tarred(), "unknown", "TAR"),
        ("x.zip", zipped(), "unknown", "ZIP"),
        ("x.llamafile", b"MZqFpD='" + b"x" * 600, "unknown", "program"),
        ("x.onnx", ONNX, "onnx", "ONNX"),
        ("x.engine", b"ftrt" + b"\1" * 600, "tensorrt-llm", "folder"),
        ("x.pth", torch_legacy(), "pickle", "Pickle files can run any program"),
        ("x.ckpt", torch_zip(), "pickle", "--allow-pickle"),
        ("x.pt", torch_zip(("a/constants.pkl", "a/code/__torch__.py", "a/data.pkl")), "pickle", "TorchScript"),
        ("x.bin", torch_zip()[:-30], "pickle", "cut short"),
        ("x.gguf", b"hello world", "unknown", "not a GGUF"),
        ("x.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "unknown", "Keras"),
    ],
)
def test_a_file_that_cannot_run_says_why(tmp_path: Path, name: str, content: Any, fmt: str, words: str) -> None:
    facts = file(tmp_path, name, content)
    assert facts.format == fmt
    assert words in said(facts)
    assert facts.reason.endswith(".")


def test_content_counts_and_not_the_ending(tmp_path: Path) -> None:
    assert file(tmp_path, "x.bin", bytes(make().data)).format == "gguf"
    assert file(tmp_path, "x.safetensors", bytes(make().data)).format == "gguf"
    assert file(tmp_path, "y.gguf", safetensors()).format == "safetensors"


def test_endpoint_files_are_models_of_the_format_endpoint(tmp_path: Path) -> None:
    facts = file(tmp_path, "far.endpoint.yaml", "url: http://127.0.0.1:9\nmodel: big\ncontext: 4096\nimages: true\n")
    assert (facts.format, facts.name, facts.context_length, facts.reason) == ("endpoint", "big", 4096, "")
    assert facts.capabilities == ("images",)
    assert "sends_to" not in facts.extra
    far = file(tmp_path, "further.endpoint.yaml", "url: https://api.example.com/v1\nmodel: big\n")
    assert far.extra["sends_to"] == "api.example.com"
    assert "names no server" in file(tmp_path, "bad.endpoint.yaml", "model: x\n").reason


def test_a_pipe_a_missing_file_and_one_without_permission_do_not_wait_or_raise(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "not an ordinary file" in detect(tmp_path / "pipe.gguf").reason
    gone = detect(tmp_path / "gone.gguf")
    assert "cannot be opened" in gone.reason
    assert gone.extra[UNREADABLE] is True


def test_loose_safetensors_say_what_they_are_part_of(tmp_path: Path) -> None:
    facts = file(tmp_path, "model.safetensors", safetensors())
    assert (facts.kind, facts.quant, facts.layers) == ("model", "bfloat16", 2)
    assert "without the folder" in facts.reason
    lora = file(tmp_path, "l.safetensors", safetensors({"a.layers.0.q.lora_A.weight": ("F16", (4, 8))}))
    assert (lora.kind, "adapter_config.json" in lora.reason) == ("adapter", True)
    picture = file(tmp_path, "sd.safetensors", safetensors({"model.diffusion_model.in.weight": ("F16", (4, 8))}))
    assert (picture.kind, "pictures" in picture.reason) == ("image", True)
    kohya = file(tmp_path, "k.safetensors", safetensors({"lora_unet_down.lora_down.weight": ("F16", (4, 8))}))
    assert (kohya.kind, "pictures" in kohya.reason) == ("image", True)


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw[: len(raw) // 2], lambda raw: raw[:20]])
def test_a_safetensors_file_that_was_cut_says_so(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    assert "cut short" in file(tmp_path, "x.safetensors", change(safetensors())).reason


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', "does not fit its shape"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', "does not fit its shape"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', "leave gaps"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "more than it names"),
        (b'{"a":{"shape":[2]}}      ', "not the description of a tensor"),
        (b'{"a":[1,2,3]}      ', "not the description of a tensor"),
        (b'{"a":{"dtype":"F32","shape":[9999999,9999999,9999999],"data_offsets":[0,8]}}', "larger than any model"),
        (b'{{{{{{{{{{{{{{{{', "not the JSON"),
    ],
)  # fmt: skip
def test_a_safetensors_header_that_contradicts_itself_is_damage(tmp_path: Path, header: bytes, words: str) -> None:
    raw = struct.pack("<Q", len(header)) + header + b"\1" * 8
    facts = file(tmp_path, "x.safetensors", raw)
    assert words in facts.reason


def test_a_safetensors_entry_may_have_its_parts_in_any_order(tmp_path: Path) -> None:
    header = b'{ "a\\u00e4.lm_head.weight" : { "shape" : [ 2 , 2 ] , "data_offsets":[0,16], "dtype":"F32" } }  '
    facts = file(tmp_path, "x.safetensors", struct.pack("<Q", len(header)) + header + b"\0" * 16)
    assert facts.parameters == 4
    assert facts.extra["output_bytes"] == 16

"""Files of other programs, pieces, blobs and hostile files: each is one entry with its reason, and hides no other."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from loaders import Registry
from modules.api.json_response import to_json
from modules.api.models import file_dict
from modules.formats.detect import detect
from modules.formats.problems import Reason
from modules.models.catalog import Catalog
from tests.gguf_maker import LLAMA, make, write
from tests.model_maker import LLAMA_CONFIG, hf_folder

CT2 = struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + bytes(64)


def code_of(path: Path) -> Reason | None:
    problem = detect(path).problem
    return None if problem is None else problem.code


@pytest.mark.parametrize(
    ("name", "start", "fmt", "code"),
    [
        ("x.nemo", b"./model_config.yaml" + b"\0" * 238 + b"ustar" + bytes(300), "nemo", Reason.FOREIGN),
        ("x.tflite", b"\x1c\0\0\0TFL3" + bytes(64), "tflite", Reason.FOREIGN),
        ("odd.bin", b"\x1c\0\0\0TFL3" + bytes(64), "tflite", Reason.FOREIGN),
        ("x.mlmodel", b"\x08\x05\x12\x07" + bytes(64), "coreml", Reason.FOREIGN),
        ("x.litertlm", b"LITERTLM" + bytes(64), "litert", Reason.FOREIGN),
        ("x.pte", b"\0\0\0\0ET12" + bytes(64), "executorch", Reason.FOREIGN),
        ("model.bin", CT2, "ctranslate2", Reason.CTRANSLATE2),
        ("x.ENGINE", b"\1" * 64, "tensorrt-llm", Reason.TENSORRT_ALONE),
        ("x.gguf.part1of2", b"GGUF" + bytes(64), "unknown", Reason.PIECE),
        ("x.gguf-split-a", b"GGUF" + bytes(64), "unknown", Reason.PIECE),
        ("x.safetensors.002", bytes(64), "unknown", Reason.PIECE),
        ("x.nemo", b"version https://git-lfs.github.com/spec/v1\n", "lfs-pointer", Reason.LFS_POINTER),
    ],
)
def test_files_of_other_programs_are_seen_and_explained(
    tmp_path: Path, name: str, start: bytes, fmt: str, code: Reason
) -> None:
    (tmp_path / name).write_bytes(start)
    catalog = Catalog(tmp_path, Registry())
    (model,) = [one for one in catalog.scan() if not one.builtin]
    assert (model.format, model.runnable, model.reason_code) == (fmt, False, code)
    assert model.reason


def test_a_ctranslate2_folder_is_named_as_such(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "whisper", {"alignment_heads": []})
    (folder / "model.safetensors").unlink()
    (folder / "model.bin").write_bytes(CT2)
    assert (detect(folder).format, code_of(folder)) == ("ctranslate2", Reason.CTRANSLATE2)


def test_a_blob_without_an_ending_is_a_model_and_a_licence_is_not(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    name = "sha256-" + "ab" * 32
    (tmp_path / "blobs" / name).write_bytes(bytes(make(metadata=LLAMA).data))
    (tmp_path / "blobs" / ("sha256-" + "cd" * 32)).write_text('{"stop": ["x"]}')
    (tmp_path / "LICENSE").write_text("Do what you want.")
    catalog = Catalog(tmp_path, Registry())
    assert [one.name for one in catalog.scan() if not one.builtin] == [f"blobs/{name}"]
    assert catalog.get(f"blobs/{name}").format == "gguf"


def test_a_reranker_of_llama_cpps_converter_is_known_by_its_head(tmp_path: Path) -> None:
    meta = {**LLAMA, "general.architecture": "bert"}
    head = [("cls.weight", (8, 8), 0), ("cls.bias", (8,), 0), ("cls.output.weight", (8, 1), 0)]
    assert detect(write(tmp_path / "r.gguf", metadata=meta, tensors=head)).kind == "reranker"
    classes = [("cls.weight", (8, 8), 0), ("cls.output.weight", (8, 5), 0)]
    assert detect(write(tmp_path / "c.gguf", metadata=meta, tensors=classes)).kind == "classifier"


def test_parts_without_an_index_run_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "m", parts=3)
    (folder / "model.safetensors.index.json").unlink()
    assert code_of(folder) is None
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert code_of(folder) is Reason.PART_FILES_MISSING
    assert "model-00002-of-00003.safetensors" in detect(folder).reason


def test_json_that_the_engines_refuse_is_not_called_runnable(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        folder = hf_folder(tmp_path / name)
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert code_of(folder) is Reason.JSON_BOM
        assert name in detect(folder).reason


def test_weights_in_another_layout_than_their_config_are_refused(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "mistral")
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert code_of(folder) is Reason.OTHER_LAYOUT


def test_a_stray_model_index_hides_neither_the_model_beside_it_nor_those_below(tmp_path: Path) -> None:
    for index in ("{}", '{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet"]}', "nonsense"):
        root = tmp_path / str(len(index))
        hf_folder(root / "llm", model_index__json=index)
        hf_folder(root / "shelf/below")
        (root / "shelf/model_index.json").write_text(index)
        names = {one.name: one for one in Catalog(root, Registry()).scan() if not one.builtin}
        assert names["llm"].kind == "model"
        assert names["shelf/below"].kind == "model"


def test_a_lone_surrogate_in_one_config_hides_no_model(tmp_path: Path) -> None:
    hf_folder(tmp_path / "good")
    bad = hf_folder(tmp_path / "bad")
    (bad / "config.json").write_text('{"architectures": ["X\\ud800"], "model_type": "\\udfff"}')
    listed = [file_dict(one, loaded=False) for one in Catalog(tmp_path, Registry()).scan()]
    assert b'"good"' in to_json({"models": listed})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_readme_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "m")
    os.mkfifo(folder / "README.md")
    assert detect(folder).kind == "model"


def test_a_small_file_that_claims_billions_of_parts_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", metadata={**LLAMA, "split.no": 0, "split.count": 2**31 - 1})
    assert code_of(path) is Reason.PARTS_MISSING
    assert "2, 3, 4, 5, 6, …" in detect(path).reason


def test_many_layer_numbers_are_looked_up_at_once(tmp_path: Path) -> None:
    config = {**LLAMA_CONFIG, "num_hidden_layers": 10_000, "attn_layer_indices": list(range(1, 120_000, 2))}
    assert detect(hf_folder(tmp_path / "m", config)).kv_layers == 5000


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[" * 500_000,
        b'{"a":[' + b"1.5," * 4_000_000 + b"1]}",
        b"{" + b",".join(b'"%d":{}' % at for at in range(300_000)) + b"}",
        b'{"a":' + b"9" * 1_000_000 + b"}",
    ],
    ids=["nested", "numbers", "entries", "digits"],
)
def test_a_hostile_safetensors_header_is_damage(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(body)) + body + bytes(8))
    assert code_of(tmp_path / "x.safetensors") is Reason.DAMAGED

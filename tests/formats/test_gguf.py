"""The GGUF reader knows what a file is, and says what it is when it is something else."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from modules.formats.gguf import GgufError, megabytes, read_header
from tests.faults.gguf_mutations import run
from tests.gguf_maker import LLAMA, WEIGHTS, make, write

STARTER = Path(__file__).parents[2] / "user_data/models/SmolLM2-135M-Instruct.Q4_1.gguf"


def message(path: Path) -> str:
    with pytest.raises(GgufError) as caught:
        read_header(path)
    return caught.value.message + " " + caught.value.hint


@pytest.mark.parametrize(("version", "order"), [(1, "<"), (2, "<"), (3, "<"), (3, ">")])
def test_every_version_and_byte_order_gives_the_same_facts(tmp_path: Path, version: int, order: str) -> None:
    header = read_header(write(tmp_path / "x.gguf", version=version, order=order))
    assert (header.version, header.big_endian) == (version, order == ">")
    assert (header.kind, header.architecture, header.name, header.quant) == ("model", "llama", "Tiny Test", "Q4_K_M")
    assert (header.context_length, header.block_count, header.embedding_length) == (2048, 4, 64)
    assert (header.head_count, header.head_count_kv, header.vocabulary) == (8, 2, 4)
    assert (header.tensor_count, header.parameters, header.tokenizer) == (2, 64 * 4 + 256 * 8, "gpt2")
    assert header.chat_template == LLAMA["tokenizer.chat_template"]
    assert (header.split_no, header.split_count) == (0, 1)
    assert header.metadata["tokenizer.ggml.scores"] == (0.5, 1.5, 2.5, 3.5)
    assert "tokenizer.ggml.tokens" not in header.metadata


@pytest.mark.real_model
@pytest.mark.skipif(not STARTER.exists(), reason="the starter model is not here")
def test_the_starter_model_is_read_right_and_fast() -> None:
    started = time.thread_time()
    header = read_header(STARTER)
    assert time.thread_time() - started < 0.5
    assert (header.architecture, header.quant, header.context_length) == ("llama", "Q4_1", 8192)
    assert (header.block_count, header.vocabulary, header.parameters) == (30, 49152, 134_515_008)
    assert "<|im_start|>" in header.chat_template


def changed(**changes: Any) -> dict[str, Any]:
    renamed = {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in {**LLAMA, **renamed}.items() if value is not None}


def test_without_a_file_type_the_quantisation_is_that_of_most_weights(tmp_path: Path) -> None:
    assert read_header(write(tmp_path / "a", metadata=changed(general__file_type=None))).quant == "Q4_K"
    assert read_header(write(tmp_path / "b", metadata=changed(general__file_type=9999))).quant == "Q4_K"
    assert read_header(write(tmp_path / "c", metadata=changed(general__file_type=1024 + 7))).quant == "Q8_0"


def test_numbers_that_differ_by_layer_give_the_largest(tmp_path: Path) -> None:
    meta = changed(llama__attention__head_count_kv=[2, 0, 4, 2])
    assert read_header(write(tmp_path / "x", metadata=meta)).head_count_kv == 4


@pytest.mark.parametrize(
    ("meta", "kind"),
    [
        ({"general.architecture": "clip", "clip.projector_type": "mlp"}, "mmproj"),
        ({"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}, "adapter"),
        ({"general.type": "imatrix", "imatrix.datasets": ["x"], "imatrix.chunk_size": 512}, "imatrix"),
        ({"general.architecture": "llama"}, "model"),
    ],
)
def test_files_that_go_with_a_model_are_told_apart(tmp_path: Path, meta: dict[str, Any], kind: str) -> None:
    assert read_header(write(tmp_path / "x", metadata=meta)).kind == kind


def test_a_part_of_a_split_model_says_which_part_it_is(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "x", metadata=changed(split__no=1, split__count=3)))
    assert (header.split_no, header.split_count) == (1, 3)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf\n  <html lang='en'>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b'{"error":"Repository not found"}', "error message"),
        (b"Entry not found", "error message"),
        (b"lmgg\x01\0\0\0", "old GGML format"),
        (b"tjgg\x03\0\0\0", "convert"),
        (b"PK\x03\x04aaaa", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (struct.pack("<Q", 90) + b'{"__metadata__":{}', "safetensors"),
        (b"\0" * 500, "zeros"),
        (b"GGU", "not a GGUF"),
        (b"hello world", "not a GGUF"),
        (b"GGUF", "cut short"),
        (b"GGUF\x03\0\0\0", "cut short"),
        (b"GGUF\x09\0\0\0" + b"\0" * 99, "version 9"),
        (b"GGUF\x03\0\0\0" + struct.pack("<QQ", 1, 2**60) + b"\0" * 99, "claims"),
    ],
)
def test_what_is_not_a_model_is_named(tmp_path: Path, start: bytes, said: str) -> None:
    (tmp_path / "x.gguf").write_bytes(start)
    assert said in message(tmp_path / "x.gguf")


def test_a_download_that_stopped_says_how_much_is_there(tmp_path: Path) -> None:
    raw = make(tensors=[("w", (1024, 1024), 0)]).data
    (tmp_path / "x.gguf").write_bytes(raw[: len(raw) // 2])
    assert "2.1 MB of 4.2 MB" in message(tmp_path / "x.gguf")


def test_every_cut_of_a_sound_file_is_an_error_of_ours(tmp_path: Path) -> None:
    raw = make().data
    for end in range(len(raw)):
        (tmp_path / "x.gguf").write_bytes(raw[:end])
        with pytest.raises(GgufError):
            read_header(tmp_path / "x.gguf")


def test_a_folder_a_pipe_and_a_missing_file_are_errors_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "not an ordinary file" in message(tmp_path / "pipe.gguf")
    assert "not an ordinary file" in message(tmp_path)
    assert "cannot be opened" in message(tmp_path / "none.gguf")


def test_a_promised_terabyte_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    head = b"GGUF\x03\0\0\0" + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 1) + b"k"
    path.write_bytes(head + struct.pack("<IIQ", 9, 8, 2**33))  # 8 billion strings, all empty: zeros as far as it goes
    os.truncate(path, 2**38)
    started = time.thread_time()
    assert "larger than that of any real model" in message(path)
    assert time.thread_time() - started < 1


def test_a_large_real_vocabulary_is_walked_in_time(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(250_000)]
    meta = changed(tokenizer__ggml__tokens=words, tokenizer__ggml__merges=words)
    path = write(tmp_path / "x", metadata=meta)
    started = time.thread_time()
    assert read_header(path).vocabulary == 250_000
    assert time.thread_time() - started < 0.8


def test_an_entry_that_is_there_twice_is_damage(tmp_path: Path) -> None:
    raw = bytes(make().data).replace(b"general.name", b"general.type")
    (tmp_path / "x.gguf").write_bytes(raw)
    assert "twice" in message(tmp_path / "x.gguf")


def test_text_that_is_not_utf_8_does_not_stop_the_reader(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(bytes(make().data).replace(b"Tiny Test", b"Tiny\xff\xfeTst"))
    assert read_header(tmp_path / "x.gguf").name == "Tiny\ufffd\ufffdTst"


def test_tensors_of_an_unknown_type_are_named_by_number(tmp_path: Path) -> None:
    tensors = [*WEIGHTS, ("new", (4096, 64), 340)]
    header = read_header(write(tmp_path / "x", metadata=changed(general__file_type=None), tensors=tensors))
    assert header.quant == "type 340"


def test_mutated_headers_crash_nothing_and_hang_nothing() -> None:
    result = run(500, seed=1)
    assert result.wrong == []
    assert result.count == 500
    assert result.slowest_s < 1
    assert result.peak_bytes < 50 * 1024 * 1024
    assert result.refused > 100  # otherwise the mutations do not reach the reader's checks


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "2 kB"), (98_362_432, "98 MB"),
                                             (1_500_000, "1.5 MB"), (4_700_000_000, "4.7 GB")])  # fmt: skip
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert megabytes(count) == text

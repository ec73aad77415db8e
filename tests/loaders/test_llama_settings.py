"""Every setting of llama.cpp reaches the engine, by the binding and by a command line, or is said not to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loaders.base import NamedFile
from loaders.llama import binding
from loaders.llama.flags import arguments, known_flags
from loaders.llama.launch import decide
from loaders.llama.log_warnings import warnings_in
from loaders.llama.own_server import command_words
from loaders.llama.settings import SETTINGS
from loaders.llama.tensors import EXPERTS, places
from modules.errors import LoadFailed
from modules.formats.gguf import read_header
from tests import gguf_parts
from tests.engine.making import MODEL, ROOT
from tests.gguf_maker import LLAMA
from tests.loaders.llama_making import decided, request_for

pytestmark = pytest.mark.timeout(120)
Found = Mapping[str, tuple[bool, Mapping[str, tuple[str, str]]]]


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What came of each setting on both ways; see llama_both_ways.py."""
    folder = tmp_path_factory.mktemp("both")
    adapter = gguf_parts.adapter(folder / "lora.gguf")
    (folder / "lora.gguf,2.gguf").write_bytes(adapter.read_bytes())
    script = ROOT / "tests" / "loaders" / "llama_both_ways.py"
    words = [sys.executable, str(script), str(MODEL), str(folder), str(adapter),
             str(gguf_parts.image_part(folder / "mm.gguf"))]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
def test_every_setting_reaches_the_engine_and_both_ways_say_the_same(both_ways: Found) -> None:
    names = {param.name for param in SETTINGS} - {"control_vectors"}
    missing = {name for name in names if name not in both_ways}
    assert missing <= {"control_vector_start", "control_vector_end"}
    idle = [name for name, (changed, _) in both_ways.items() if not changed]
    assert set(idle) <= {"nothing", "control_vector_start", "control_vector_end"}, "these change nothing"
    assert {name: differs for name, (_, differs) in both_ways.items() if differs} == {}


def test_a_setting_without_effect_is_said(tmp_path: Path) -> None:
    launch = decided(tmp_path, draft_max=4, ngram_match=3, image_max_tokens=5, pooling="mean", control_vector_end=3)
    (note,) = launch.notes
    for name in ("draft_max", "ngram_match", "image_max_tokens", "pooling", "control_vector_end"):
        assert name in note
    assert decided(tmp_path).notes == ()


def test_what_is_about_a_graphics_card_is_said_where_there_is_none(tmp_path: Path) -> None:
    launch = decided(tmp_path, gpu_layers=20, tensor_split="3,1", main_gpu=1, cpu_moe=-1, split_mode="row")
    (note,) = binding.notes(launch, [])
    for name in ("gpu_layers", "tensor_split", "main_gpu", "cpu_moe", "split_mode"):
        assert name in note
    assert binding.notes(launch, ["one", "two"]) == []
    assert "2 parts for 1" in binding.notes(launch, ["one"])[0]
    assert binding.notes(decided(tmp_path, gpu_layers=0), []) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"speculation": "draft-simple"}, "needs a draft model"),
        ({"speculation": "draft-mtp"}, "has none"),
        ({"flash_attention": "off", "cache_type_v": "q8_0"}, "flash attention"),
        ({"tensor_split": "a lot"}, "no number"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        decided(tmp_path, **settings)


def test_files_of_which_there_can_be_one_are_one(tmp_path: Path) -> None:
    two = (NamedFile("a", "/a"), NamedFile("b", "/b"))
    for name in ("mmproj", "draft_model"):
        with pytest.raises(LoadFailed, match="takes one"):
            decided(tmp_path, files={name: two})
    with pytest.raises(LoadFailed, match="twice"):
        decided(tmp_path, files={"lora": (two[0], two[0])})


def test_what_does_not_go_together_is_left_out_and_said(tmp_path: Path) -> None:
    one = (NamedFile("a", "/a"),)
    images = decided(tmp_path, files={"mmproj": one}, context_shift=True, cache_reuse=64)
    assert (images.values["context_shift"], images.values["cache_reuse"]) == (False, 0)
    assert len(images.notes) == 2
    draft = decided(tmp_path, files={"draft_model": one}, speculation="ngram-mod")
    assert "draft_model" not in draft.files
    assert "not loaded" in draft.notes[0]
    lora = decided(tmp_path, files={"lora": one})
    assert lora.values["prompt_cache_mib"] == 0
    assert not lora.slots, "what one mix of adapters computed must not be read back under another"
    assert "adapters" in lora.notes[0]


@pytest.mark.parametrize(
    ("header", "mode"),
    [
        ({}, "text"),
        ({"llama.pooling_type": 3}, "embeddings"),
        ({"llama.pooling_type": 4}, "rerank"),
        ({"llama.pooling_type": 0}, "text"),
        ({"general.architecture": "nomic-bert"}, "embeddings"),
    ],
)
def test_what_a_model_is_for_is_read_from_its_header(tmp_path: Path, header: dict[str, Any], mode: str) -> None:
    launch = decided(tmp_path, {**LLAMA, **header})
    assert launch.mode.value == mode
    assert launch.mode.why
    assert decided(tmp_path, {**LLAMA, **header}, mode="text").mode.value == "text"


def test_a_model_for_vectors_computes_a_text_at_once_and_is_given_a_moderate_context(tmp_path: Path) -> None:
    launch = decided(
        tmp_path, {**LLAMA, "llama.pooling_type": 1, "llama.context_length": 32768}, speculation="ngram-mod"
    )
    assert launch.context.value == 2048
    assert launch.values["batch_size"] == launch.values["ubatch_size"] == 2048
    assert launch.values["prompt_cache_mib"] == 0
    assert launch.speculation == "off"
    assert any("speculation" in note for note in launch.notes)


def test_a_draft_model_alone_is_reason_enough_to_use_it(tmp_path: Path) -> None:
    launch = decided(tmp_path, files={"draft_model": (NamedFile("d", "/d"),)})
    assert launch.speculation == "draft-simple"
    assert decided(tmp_path).speculation == "off"
    assert (
        decided(tmp_path, {**LLAMA, "llama.nextn_predict_layers": 1}, speculation="draft-mtp").speculation
        == "draft-mtp"
    )


def test_a_stretched_context_reaches_further(tmp_path: Path) -> None:
    header = {**LLAMA, "llama.context_length": 4096}
    assert decided(tmp_path, header, rope_scale=2.0).context.value == 8192
    assert decided(tmp_path, header, rope_scale=2.0, context=6000).context.value == 6000
    assert decided(tmp_path, header, rope_scale=2.0, context=9000).context.value == 8192
    assert decided(tmp_path, header, context=9000).context.value == 4096


def test_prompts_are_saved_apart_for_every_form_of_a_model(tmp_path: Path) -> None:
    decided(tmp_path)
    path = tmp_path / "model.gguf"

    def folder(**settings: Any) -> str:
        return decide(request_for(tmp_path, path, **settings), read_header(path)).slots

    apart: list[dict[str, Any]] = [{}, {"cache_type_k": "q8_0"}, {"context": 512}, {"rope_freq_base": 5.0}]
    assert len({folder(**settings) for settings in apart}) == len(apart)
    assert folder(batch_size=64) == folder()
    path.write_bytes(path.read_bytes() + b"\0")
    assert folder() not in {folder(**settings) for settings in apart[1:]}
    assert Path(folder()).parent == tmp_path / "slots"


def test_experts_and_a_persons_own_patterns_are_one_list_and_theirs_come_first() -> None:
    assert places(0, "") == ""
    assert places(-1, "a=CPU") == f"a=CPU,{EXPERTS}=CPU"
    assert places(2, "") == rf"blk\.0{EXPERTS}=CPU,blk\.1{EXPERTS}=CPU"


OLD_HELP = """
usage: llama-server [options]

  -h,    --help                    print usage
  -m,    --model FNAME             model path
  -c,    --ctx-size N              size of the prompt context --not-a-flag
         --host HOST               ip address
         --port PORT               port
  -fa,   --flash-attn              enable Flash Attention (default: disabled)
  -np,   --parallel N              slots
         --no-mmap                 do not memory-map
  -md,   --model-draft FNAME       draft model
         --draft-max, --draft N    tokens
"""


def test_an_older_server_gets_its_own_words_and_what_it_lacks_is_named(tmp_path: Path) -> None:
    known = known_flags(OLD_HELP)
    assert known["--model"]
    assert not known["--flash-attn"]
    assert "--not-a-flag" not in known
    files = {"draft_model": (NamedFile("d", "/d.gguf"),)}
    launch = decided(tmp_path, files=files, flash_attention="on", mmap=False, draft_max=7, cache_reuse=5, mlock=True)
    words, missing = arguments(launch, 1234, known)
    assert words[words.index("--model-draft") + 1] == "/d.gguf"
    assert words[words.index("--draft-max") + 1] == "7"
    assert "--no-mmap" in words
    assert words[words.index("--flash-attn") + 1].startswith("--"), "it takes no value there"
    assert sorted(missing) == ["cache_reuse", "mlock"]
    with pytest.raises(LoadFailed, match="control_vectors"):
        arguments(decided(tmp_path, files={"control_vectors": (NamedFile("c", "/c"),)}), 1234, known)


def test_a_file_with_a_colon_is_refused_by_its_name(tmp_path: Path) -> None:
    launch = decided(tmp_path, files={"lora": (NamedFile("odd", "/a:b.gguf"),)})
    with pytest.raises(LoadFailed, match="odd"):
        arguments(launch, 1234, {"--lora-scaled": True})


def test_the_key_is_not_on_the_command_line(tmp_path: Path) -> None:
    words, _ = arguments(decided(tmp_path), 1234, {"--model": True, "--api-key": True, "--api-key-file": True})
    assert words == ["--model", str(tmp_path / "model.gguf")]


def test_a_program_may_have_spaces_in_its_path_and_arguments_behind_it(tmp_path: Path) -> None:
    program = tmp_path / "my server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert command_words(str(program)) == [str(program)]
    assert command_words(f"'{program}' --rpc 10.0.0.2:50052") == [str(program), "--rpc", "10.0.0.2:50052"]
    for wrong in ("/nowhere/llama-server", "'unclosed", str(tmp_path)):
        with pytest.raises(LoadFailed, match="llama_server"):
            command_words(wrong)


def test_what_the_engine_turns_off_by_itself_is_read_from_its_log() -> None:
    log = (
        "0.02.001.615 I srv    load_model: initializing, it will be disabled is not said here\n"
        "0.02.001.700 W srv    load_model: ctx_shift is not supported by this context, it will be disabled\n"
        "0.02.001.800 W warning: failed to mlock 93847552-byte buffer (after previously locking 0 bytes): Cannot\n"
        "0.02.001.900 W llama_context: n_ctx_seq (16384) > n_ctx_train (8192) -- possible training context overflow\n"
    )
    found = warnings_in(log)
    assert found[0] == "ctx_shift is not supported by this context, it will be disabled"
    assert "failed to mlock" in found[1]
    assert len(found) == 2

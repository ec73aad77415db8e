"""What TensorRT-LLM is started with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loaders import tensorrt_llm
from loaders.base import Feature, LoadRequest
from loaders.served.serve import BindAddress
from modules.errors import LoadFailed

DOOR = BindAddress(4242, "the-key")


def request(folder: Path, **settings: Any) -> LoadRequest:
    checked = tensorrt_llm.SPEC.check_settings(settings)
    return LoadRequest("m", str(folder), "tensorrt-llm", checked, str(folder))


def after(arguments: tuple[str, ...], switch: str) -> str:
    return arguments[arguments.index(switch) + 1]


def test_settings_become_switches_and_a_file_of_options(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    start = tensorrt_llm.plan(request(tmp_path), DOOR)
    assert start.arguments[0] == str(tmp_path)
    assert after(start.arguments, "--host") == "127.0.0.1"
    assert "--max_seq_len" not in start.arguments
    assert start.context == 4096, "its server does not tell, so the model's own"
    options = json.loads(Path(after(start.arguments, "--config")).read_text())
    assert options["guided_decoding_backend"] == "xgrammar", "without it schemas and grammars are refused"
    assert "no key" in start.details["warning"]
    full = tensorrt_llm.plan(
        request(tmp_path, context=2048, parallel=8, gpu_memory=0.5, cache_type="fp8", tensor_parallel=4,
                pipeline_parallel=2, prefix_caching=False, enforce_eager=True), DOOR)  # fmt: skip
    wanted = {"--max_seq_len": "2048", "--max_batch_size": "8", "--tp_size": "4", "--pp_size": "2"}
    assert {switch: after(full.arguments, switch) for switch in wanted} == wanted
    options = json.loads(Path(after(full.arguments, "--config")).read_text())
    assert options["kv_cache_config"] == {"free_gpu_memory_fraction": 0.5, "enable_block_reuse": False, "dtype": "fp8"}
    assert options["cuda_graph_config"] is None
    assert full.context == 2048
    assert Feature.PROMPT_CACHE in full.missing_features


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    bad = tensorrt_llm.SPEC.check_settings({})
    with pytest.raises(LoadFailed, match="cannot be written"):
        tensorrt_llm.plan(LoadRequest("m", str(tmp_path), "tensorrt-llm", bad, str(tmp_path / "gone")), DOOR)

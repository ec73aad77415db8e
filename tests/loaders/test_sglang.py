"""What SGLang is started with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loaders import sglang
from loaders.base import Feature, LoadRequest, NamedFile
from loaders.served.serve import BindAddress
from modules.errors import LoadFailed

DOOR = BindAddress(4242, "the-key")


def request(folder: Path, files: dict[str, tuple[NamedFile, ...]] | None = None, **settings: Any) -> LoadRequest:
    return LoadRequest("m", str(folder), "sglang", sglang.SPEC.check_settings(settings), str(folder), files or {})


def after(arguments: tuple[str, ...], switch: str) -> str:
    return arguments[arguments.index(switch) + 1]


def test_settings_become_switches_and_defaults_leave_them_out(tmp_path: Path) -> None:
    plain = sglang.plan(request(tmp_path), DOOR).arguments
    assert after(plain, "--model-path") == str(tmp_path)
    assert (after(plain, "--host"), after(plain, "--port")) == ("127.0.0.1", "4242")
    assert after(plain, "--api-key") == "the-key"
    for switch in ("--context-length", "--quantization", "--mem-fraction-static", "--disable-cuda-graph",
                   "--speculative-algorithm", "--enable-lora"):  # fmt: skip
        assert switch not in plain
    full = sglang.plan(
        request(tmp_path, context=8192, parallel=16, gpu_memory=0.7, quantization="fp8", cache_type="fp8_e5m2",
                cpu_offload=4, tensor_parallel=2, pipeline_parallel=2, enforce_eager=True, prefix_caching=False,
                batch_tokens=2048), DOOR)  # fmt: skip
    wanted = {"--context-length": "8192", "--max-running-requests": "16", "--mem-fraction-static": "0.7",
              "--quantization": "fp8", "--kv-cache-dtype": "fp8_e5m2", "--cpu-offload-gb": "4", "--tp-size": "2",
              "--pp-size": "2", "--chunked-prefill-size": "2048"}  # fmt: skip
    assert {switch: after(full.arguments, switch) for switch in wanted} == wanted
    assert {"--disable-cuda-graph", "--disable-radix-cache"} <= set(full.arguments)
    assert Feature.PROMPT_CACHE in full.missing_features


def test_adapters_and_speculation(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16}))
    start = sglang.plan(
        request(tmp_path, {"lora": (NamedFile("red", str(tmp_path)),), "draft_model": (NamedFile("d", "/d"),)},
                speculation="draft model"), DOOR)  # fmt: skip
    assert after(start.arguments, "--lora-paths") == f"red={tmp_path}"
    assert after(start.arguments, "--max-lora-rank") == "16"
    assert after(start.arguments, "--speculative-algorithm") == "STANDALONE"
    assert after(start.arguments, "--speculative-draft-model-path") == "/d"
    steps = {"--speculative-num-steps": "5", "--speculative-eagle-topk": "1", "--speculative-num-draft-tokens": "6"}
    assert {switch: after(start.arguments, switch) for switch in steps} == steps
    ngram = sglang.plan(request(tmp_path, speculation="ngram"), DOOR).arguments
    assert after(ngram, "--speculative-num-draft-tokens") == "5"
    assert start.adapters == ("red",)
    with pytest.raises(LoadFailed, match="draft model"):
        sglang.plan(request(tmp_path, speculation="eagle"), DOOR)

"""TensorRT-LLM: its own server, `trtllm-serve`, started for one model and ended with it. NVIDIA graphics cards only.

What has no switch goes into a YAML file in the worker's own folder. The server knows no key: while it runs, programs
of this machine that find its port can use it. Source: nvidia.github.io/TensorRT-LLM, "trtllm-serve".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.served.backend import EndpointBackend
from loaders.served.folder import integer, lacking, number, text, trained_context
from loaders.served.serve import BindAddress, LaunchPlan, Served, Stage, serve
from modules.errors import LoadFailed
from modules.sampling.params import TRTLLM, dialect

DEFAULT_SLOTS = 64

_INSTALL = (
    "python3 -m venv trtllm-env && trtllm-env/bin/pip install tensorrt_llm && export PATH=$PWD/trtllm-env/bin:$PATH"
)

SPEC = LoaderSpec(
    name="tensorrt-llm",
    title="TensorRT-LLM (NVIDIA's own server, for its graphics cards)",
    rank=70,
    formats=("safetensors", "fp8"),
    params=(
        LoadParam("context", "int", 0, "Context",
                  "Tokens of prompt and reply together. 0 = what the model was made for.", 0, 2**24, 256),
        LoadParam("parallel", "int", 0, "Parallel requests", f"Replies at the same time. 0 = {DEFAULT_SLOTS}.",
                  0, 4096, 1),
        LoadParam("gpu_memory", "float", 0.9, "Share of the free graphics memory",
                  "Of what is free after the model, for the context.", 0.05, 0.98, 0.01),
        LoadParam("cache_type", "choice", "auto", "KV cache type", "fp8 takes half the memory.",
                  choices=("auto", "fp8")),
        LoadParam("batch_tokens", "int", 0, "Tokens in a step",
                  "Prompt tokens computed at once. 0 = the engine's choice.", 0, 2**20, 256),
        LoadParam("prefix_caching", "bool", True, "Keep computed prompts", "The next turn computes only what is new."),
        LoadParam("enforce_eager", "bool", False, "No CUDA graphs",
                  "Starts sooner and takes less memory; replies are slower."),
        LoadParam("tensor_parallel", "int", 1, "Tensor parallel", "Cards each layer is split over.", 1, 64, 1,
                  group="Several cards"),
        LoadParam("pipeline_parallel", "int", 1, "Pipeline parallel", "Groups of cards the layers are divided among.",
                  1, 64, 1, group="Several cards"),
    ),
    samplers=dialect(TRTLLM),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA, Feature.VISION,
    }),
    load="loaders.tensorrt_llm:load",
    needs="!trtllm-serve",
    install=_INSTALL,
    hardware=("cuda",),
)  # fmt: skip

SERVED = Served(
    title="TensorRT-LLM",
    flavour=TRTLLM,
    program="trtllm-serve",
    install=_INSTALL,
    stages=(
        Stage(r"TensorRT-LLM version", 0.05, 0.05, "starting TensorRT-LLM"),
        Stage(r"Loading weights(?:[^\n]*?(\d+)%)?", 0.15, 0.65, "loading the model"),
        Stage(r"Model init total|Peak memory during memory usage profiling", 0.7, 0.7, "the model is loaded"),
        Stage(r"Allocated [\d.]+ GiB for max tokens in paged KV cache", 0.8, 0.8, "making room for the context"),
        Stage(r"Running (?:autotuner|CUDA graph) warmup|Creating CUDA graph instances", 0.85, 0.85, "warming up"),
        Stage(r"Application startup complete", 0.98, 0.98, "opening the server"),
    ),
)


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EndpointBackend:
    """Start TensorRT-LLM for a model folder. Raises LoadFailed with the reason out of its log."""
    return serve(request, progress, SERVED, lambda address: plan(request, address))


def plan(request: LoadRequest, address: BindAddress) -> LaunchPlan:
    """TensorRT-LLM's arguments, and its file of further options."""
    slots = integer(request, "parallel") or DEFAULT_SLOTS
    arguments = [
        request.path, "--host", address.host, "--port", str(address.port), "--backend", "pytorch",
        "--max_batch_size", str(slots), "--config", _options(request),
    ]  # fmt: skip
    for name, switch in _NUMBERS.items():
        if value := integer(request, name):
            arguments += [switch, str(value)]
    missing_features = lacking(request.path)
    if not request.settings["prefix_caching"]:
        missing_features |= {Feature.PROMPT_CACHE}
    details = {
        "cards": integer(request, "tensor_parallel") * integer(request, "pipeline_parallel"),
        "cache_type": request.settings["cache_type"],
        "warning": "This server knows no key: other programs of this machine could use it while it runs.",
    }
    context = integer(request, "context") or trained_context(request.path)
    return LaunchPlan(tuple(arguments), slots, {}, (), details, missing_features, context)


_NUMBERS = {
    "context": "--max_seq_len", "batch_tokens": "--max_num_tokens", "tensor_parallel": "--tp_size",
    "pipeline_parallel": "--pp_size",
}  # fmt: skip
"""Setting → TensorRT-LLM's switch; 0 leaves it out."""


def _options(request: LoadRequest) -> str:
    """The file of options; JSON is YAML. Raises LoadFailed when it cannot be written."""
    cache: dict[str, Any] = {
        "free_gpu_memory_fraction": number(request, "gpu_memory"),
        "enable_block_reuse": bool(request.settings["prefix_caching"]),
        "dtype": text(request, "cache_type"),
    }
    options: dict[str, Any] = {"kv_cache_config": cache, "guided_decoding_backend": "xgrammar"}
    if request.settings["enforce_eager"]:
        options["cuda_graph_config"] = None
    path = Path(request.scratch) / f"tensorrt-llm-{os.getpid()}.yaml"
    try:
        path.write_text(json.dumps(options))
    except OSError as error:
        hint = "Look at the disk and at the permissions of the user-data folder."
        raise LoadFailed(f"The options for TensorRT-LLM cannot be written: {error.strerror}.", hint=hint) from error
    return str(path)

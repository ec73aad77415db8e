"""vLLM: its own server, `vllm serve`, started for one model and ended with it.

It lives in an environment of its own, because it pins PyTorch and much else. No setting names a program, a path or a
raw argument: each is a switch of vLLM's that is known to be harmless. Source: docs.vllm.ai, "vllm serve".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.served.backend import EndpointBackend
from loaders.served.folder import adapter_rank, adapters_of, integer, lacking, number, text
from loaders.served.serve import BindAddress, LaunchPlan, Served, Stage, serve
from modules.errors import LoadFailed
from modules.sampling.params import VLLM, dialect

DEFAULT_SLOTS = 256
_METHODS = {"draft model": "draft_model", "eagle": "eagle", "eagle3": "eagle3"}

_INSTALL = "python3 -m venv vllm-env && vllm-env/bin/pip install vllm && export PATH=$PWD/vllm-env/bin:$PATH"

SPEC = LoaderSpec(
    name="vllm",
    title="vLLM (a server of its own; many requests at once, several graphics cards or machines)",
    rank=50,
    formats=("safetensors", "gptq", "awq", "fp8", "compressed-tensors", "bitsandbytes"),
    params=(
        LoadParam("context", "int", 0, "Context",
                  "Tokens of prompt and reply together. 0 = what the model was made for.", 0, 2**24, 256),
        LoadParam("parallel", "int", 0, "Parallel requests", f"Replies at the same time. 0 = {DEFAULT_SLOTS}.",
                  0, 4096, 1),
        LoadParam("gpu_memory", "float", 0.9, "Share of the graphics memory",
                  "vLLM takes this share of each card at once, for the model and for the context.", 0.05, 1.0, 0.01),
        LoadParam("dtype", "choice", "auto", "Data type", "auto = the model's own.",
                  choices=("auto", "bfloat16", "float16", "float32")),
        LoadParam("quantization", "choice", "auto", "Quantisation",
                  "auto = as the model was saved; fp8 and bitsandbytes quantise while loading.",
                  choices=("auto", "fp8", "bitsandbytes")),
        LoadParam("cache_type", "choice", "auto", "KV cache type", "fp8 types take half the memory.",
                  choices=("auto", "fp8", "fp8_e4m3", "fp8_e5m2")),
        LoadParam("cpu_offload", "float", 0.0, "Offload to main memory",
                  "GiB of the model for each card that are kept in main memory. Slower; makes larger models fit.",
                  0, 4096, 1),
        LoadParam("batch_tokens", "int", 0, "Tokens in a step", "Prompt tokens computed at once. 0 = vLLM's choice.",
                  0, 2**20, 256),
        LoadParam("prefix_caching", "bool", True, "Keep computed prompts", "The next turn computes only what is new."),
        LoadParam("enforce_eager", "bool", False, "No CUDA graphs",
                  "Starts sooner and takes less memory; replies are slower."),
        LoadParam("tensor_parallel", "int", 1, "Tensor parallel", "Cards each layer is split over.", 1, 64, 1,
                  group="Several cards"),
        LoadParam("pipeline_parallel", "int", 1, "Pipeline parallel", "Groups of cards the layers are divided among.",
                  1, 64, 1, group="Several cards"),
        LoadParam("executor", "choice", "auto", "Executor",
                  "mp = the cards of this machine; ray = those of a Ray cluster this machine belongs to.",
                  choices=("auto", "mp", "ray"), group="Several cards"),
        LoadParam("lora", "files", "", "LoRA adapters", "PEFT folders of the models folder; a request names one.",
                  files="adapter", group="Adapters"),
        LoadParam("speculation", "choice", "off", "Speculative decoding",
                  "ngram = guesses from the text so far; the others need a draft model; mtp = the model's own heads.",
                  choices=("off", "ngram", "draft model", "eagle", "eagle3", "mtp"), group="Speculation"),
        LoadParam("draft_model", "files", "", "Draft model", "A model of the models folder.", files="model",
                  group="Speculation"),
        LoadParam("draft_tokens", "int", 5, "Guessed tokens", "Tokens guessed at once.", 1, 32, 1,
                  group="Speculation"),
    ),
    samplers=dialect(VLLM),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.LORA, Feature.VISION, Feature.SPECULATION,
    }),
    load="loaders.vllm:load",
    needs="!vllm",
    install=_INSTALL,
)  # fmt: skip

SERVED = Served(
    title="vLLM",
    flavour=VLLM,
    program="vllm",
    install=_INSTALL,
    stages=(
        Stage(r"Initializing a V1 LLM engine|non-default args", 0.05, 0.05, "starting vLLM"),
        Stage(r"Starting to load model|Loading model from", 0.15, 0.15, "loading the model"),
        Stage(r"Loading \w+ checkpoint shards:\s+(\d+)%", 0.2, 0.65, "loading the model"),
        Stage(r"Loading weights took|Model loading took", 0.68, 0.68, "the model is loaded"),
        Stage(r"torch\.compile|Dynamo bytecode|Compiling a graph", 0.72, 0.72, "compiling"),
        Stage(r"GPU KV cache size|CPU KV cache size|# \w+ blocks", 0.8, 0.8, "making room for the context"),
        Stage(r"Capturing \w+ graphs?[^\d]*(\d+)%", 0.82, 0.95, "capturing graphs"),
        Stage(r"Starting vLLM (?:API )?server|Application startup complete", 0.97, 0.97, "opening the server"),
    ),
)


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EndpointBackend:
    """Start vLLM for a model folder. Raises LoadFailed with the reason out of its log."""
    return serve(request, progress, SERVED, lambda address: plan(request, address))


def plan(request: LoadRequest, address: BindAddress) -> LaunchPlan:
    """vLLM's arguments. The key goes by the environment, which other users of the machine cannot read."""
    arguments = [
        "serve", request.path, "--host", address.host, "--port", str(address.port), "--served-model-name", "model",
        "--generation-config", "vllm", "--enable-prompt-tokens-details", "--uvicorn-log-level", "warning",
        "--dtype", text(request, "dtype"), "--gpu-memory-utilization", f"{number(request, 'gpu_memory'):g}",
        "--kv-cache-dtype", text(request, "cache_type"),
    ]  # fmt: skip
    for name, switch in _NUMBERS.items():
        if value := number(request, name):
            arguments += [switch, f"{value:g}" if name == "cpu_offload" else str(int(value))]
    if (quantization := text(request, "quantization")) != "auto":
        arguments += ["--quantization", quantization]
    if (executor := text(request, "executor")) != "auto":
        arguments += ["--distributed-executor-backend", executor]
    if request.settings["enforce_eager"]:
        arguments.append("--enforce-eager")
    if not request.settings["prefix_caching"]:
        arguments.append("--no-enable-prefix-caching")
    adapters = adapters_of(request)
    if adapters:
        modules = [f"{one.name}={one.path}" for one in adapters]
        arguments += ["--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank",
                      str(adapter_rank(adapters)), "--lora-modules", *modules]  # fmt: skip
    if speculation := _speculation(request):
        arguments += ["--speculative-config", json.dumps(speculation)]
    missing_features = lacking(request.path)
    if not request.settings["prefix_caching"]:
        missing_features |= {Feature.PROMPT_CACHE}
    if not speculation:
        missing_features |= {Feature.SPECULATION}
    return LaunchPlan(
        tuple(arguments), integer(request, "parallel") or DEFAULT_SLOTS, {"VLLM_API_KEY": address.key},
        tuple(one.name for one in adapters), _details(request, speculation), missing_features,
    )  # fmt: skip


_NUMBERS = {
    "context": "--max-model-len", "parallel": "--max-num-seqs", "cpu_offload": "--cpu-offload-gb",
    "batch_tokens": "--max-num-batched-tokens", "tensor_parallel": "--tensor-parallel-size",
    "pipeline_parallel": "--pipeline-parallel-size",
}  # fmt: skip
"""Setting → vLLM's switch; 0 leaves it out."""


def _speculation(request: LoadRequest) -> dict[str, Any]:
    """vLLM's own description of the guessing, {} when there is none. Raises LoadFailed without its draft model."""
    kind, tokens = text(request, "speculation"), integer(request, "draft_tokens")
    drafts = request.files.get("draft_model", ())
    if kind == "off":
        return {}
    if kind == "ngram":
        return {"method": "ngram", "num_speculative_tokens": tokens, "prompt_lookup_max": 4, "prompt_lookup_min": 2}
    if kind == "mtp":
        return {"method": "mtp", "num_speculative_tokens": tokens}
    if not drafts:
        raise LoadFailed(f"Speculation by {kind} needs a draft model.", hint="Name one in draft_model.",
                         param="draft_model")  # fmt: skip
    return {"method": _METHODS[kind], "model": drafts[0].path, "num_speculative_tokens": tokens}


def _details(request: LoadRequest, speculation: dict[str, Any]) -> dict[str, Any]:
    cards = integer(request, "tensor_parallel") * integer(request, "pipeline_parallel")
    return {
        "cards": cards,
        "gpu_memory": request.settings["gpu_memory"],
        "cache_type": request.settings["cache_type"],
        "speculation": speculation.get("method", "off"),
    }

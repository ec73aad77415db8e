"""SGLang: its own server, `sglang serve`, started for one model and ended with it. NVIDIA and AMD graphics cards.

As with vLLM no setting names a program, a path or a raw argument. Source: docs.sglang.ai, "Server Arguments".
"""

from __future__ import annotations

from collections.abc import Callable

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.served.backend import EndpointBackend
from loaders.served.folder import adapter_rank, adapters_of, integer, lacking, number, text
from loaders.served.serve import BindAddress, LaunchPlan, Served, Stage, serve
from modules.errors import LoadFailed
from modules.sampling.params import SGLANG, dialect

DEFAULT_SLOTS = 64
_METHODS = {"ngram": "NGRAM", "draft model": "STANDALONE", "eagle": "EAGLE", "eagle3": "EAGLE3"}

_INSTALL = "python3 -m venv sglang-env && sglang-env/bin/pip install sglang && export PATH=$PWD/sglang-env/bin:$PATH"

SPEC = LoaderSpec(
    name="sglang",
    title="SGLang (a server of its own; many requests that share their beginnings)",
    rank=60,
    formats=("safetensors", "gptq", "awq", "fp8", "compressed-tensors", "bitsandbytes"),
    params=(
        LoadParam("context", "int", 0, "Context",
                  "Tokens of prompt and reply together. 0 = what the model was made for.", 0, 2**24, 256),
        LoadParam("parallel", "int", 0, "Parallel requests", f"Replies at the same time. 0 = {DEFAULT_SLOTS}.",
                  0, 4096, 1),
        LoadParam("gpu_memory", "float", 0.0, "Share of the graphics memory",
                  "For the model and the context. 0 = SGLang's choice.", 0.0, 1.0, 0.01),
        LoadParam("dtype", "choice", "auto", "Data type", "auto = the model's own.",
                  choices=("auto", "bfloat16", "float16", "float32")),
        LoadParam("quantization", "choice", "auto", "Quantisation",
                  "auto = as the model was saved; fp8 and w8a8_int8 quantise while loading.",
                  choices=("auto", "fp8", "w8a8_int8", "bitsandbytes")),
        LoadParam("cache_type", "choice", "auto", "KV cache type", "fp8 types take half the memory.",
                  choices=("auto", "fp8_e4m3", "fp8_e5m2")),
        LoadParam("cpu_offload", "int", 0, "Offload to main memory", "GiB of the model kept in main memory.",
                  0, 4096, 1),
        LoadParam("batch_tokens", "int", 0, "Tokens in a step", "Prompt tokens computed at once. 0 = SGLang's choice.",
                  0, 2**20, 256),
        LoadParam("prefix_caching", "bool", True, "Keep computed prompts", "The next turn computes only what is new."),
        LoadParam("enforce_eager", "bool", False, "No CUDA graphs",
                  "Starts sooner and takes less memory; replies are slower."),
        LoadParam("tensor_parallel", "int", 1, "Tensor parallel", "Cards each layer is split over.", 1, 64, 1,
                  group="Several cards"),
        LoadParam("pipeline_parallel", "int", 1, "Pipeline parallel", "Groups of cards the layers are divided among.",
                  1, 64, 1, group="Several cards"),
        LoadParam("lora", "files", "", "LoRA adapters", "PEFT folders of the models folder; a request names one.",
                  files="adapter", group="Adapters"),
        LoadParam("speculation", "choice", "off", "Speculative decoding",
                  "ngram = guesses from the text so far; the others need a draft model.",
                  choices=("off", "ngram", "draft model", "eagle", "eagle3"), group="Speculation"),
        LoadParam("draft_model", "files", "", "Draft model", "A model of the models folder.", files="model",
                  group="Speculation"),
        LoadParam("draft_tokens", "int", 5, "Guessed tokens", "Tokens guessed at once.", 1, 64, 1,
                  group="Speculation"),
    ),
    samplers=dialect(SGLANG),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.LORA, Feature.VISION, Feature.SPECULATION,
    }),
    load="loaders.sglang:load",
    needs="!sglang",
    install=_INSTALL,
    hardware=("cuda", "rocm"),
)  # fmt: skip

SERVED = Served(
    title="SGLang",
    flavour=SGLANG,
    program="sglang",
    install=_INSTALL,
    stages=(
        Stage(r"server_args=", 0.05, 0.05, "starting SGLang"),
        Stage(r"Load weight begin", 0.15, 0.15, "loading the model"),
        Stage(r"[Ll]oading \w* ?(?:checkpoint )?shards:\s+(\d+)%", 0.2, 0.65, "loading the model"),
        Stage(r"Load weight end", 0.68, 0.68, "the model is loaded"),
        Stage(r"KV Cache is allocated|Memory pool end", 0.75, 0.75, "making room for the context"),
        Stage(r"Capture cuda graph begin", 0.8, 0.8, "capturing graphs"),
        Stage(r"Capturing batches[^\n]*?(\d+)%", 0.8, 0.95, "capturing graphs"),
        Stage(r"fired up and ready to roll", 0.98, 0.98, "opening the server"),
    ),
)


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EndpointBackend:
    """Start SGLang for a model folder. Raises LoadFailed with the reason out of its log."""
    return serve(request, progress, SERVED, lambda address: plan(request, address))


def plan(request: LoadRequest, address: BindAddress) -> LaunchPlan:
    """SGLang's arguments. It takes its key in no other way."""
    slots = integer(request, "parallel") or DEFAULT_SLOTS
    arguments = [
        "serve", "--model-path", request.path, "--host", address.host, "--port", str(address.port),
        "--api-key", address.key,
        "--served-model-name", "model", "--sampling-defaults", "openai", "--enable-cache-report",
        "--max-running-requests", str(slots), "--dtype", text(request, "dtype"),
        "--kv-cache-dtype", text(request, "cache_type"),
    ]  # fmt: skip
    for name, switch in _NUMBERS.items():
        if value := integer(request, name):
            arguments += [switch, str(value)]
    if share := number(request, "gpu_memory"):
        arguments += ["--mem-fraction-static", f"{share:g}"]
    if (quantization := text(request, "quantization")) != "auto":
        arguments += ["--quantization", quantization]
    if request.settings["enforce_eager"]:
        arguments.append("--disable-cuda-graph")
    missing_features = lacking(request.path)
    if not request.settings["prefix_caching"]:
        arguments.append("--disable-radix-cache")
        missing_features |= {Feature.PROMPT_CACHE}
    adapters = adapters_of(request)
    if adapters:
        modules = [f"{one.name}={one.path}" for one in adapters]
        arguments += ["--enable-lora", "--max-lora-rank", str(adapter_rank(adapters)), "--max-loras-per-batch",
                      str(len(adapters) + 1), "--lora-paths", *modules]  # fmt: skip
    speculation = _speculation(request)
    if not speculation:
        missing_features |= {Feature.SPECULATION}
    return LaunchPlan(
        (*arguments, *speculation), slots, {}, tuple(one.name for one in adapters),
        {"cards": integer(request, "tensor_parallel") * integer(request, "pipeline_parallel"),
         "cache_type": request.settings["cache_type"], "speculation": request.settings["speculation"]},
        missing_features,
    )  # fmt: skip


_NUMBERS = {
    "context": "--context-length", "cpu_offload": "--cpu-offload-gb", "batch_tokens": "--chunked-prefill-size",
    "tensor_parallel": "--tp-size", "pipeline_parallel": "--pp-size",
}  # fmt: skip
"""Setting → SGLang's switch; 0 leaves it out."""


def _speculation(request: LoadRequest) -> tuple[str, ...]:
    """The switches for guessing. Raises LoadFailed without its draft model."""
    kind, drafts = text(request, "speculation"), request.files.get("draft_model", ())
    if kind == "off":
        return ()
    guessed = integer(request, "draft_tokens")
    out = ["--speculative-algorithm", _METHODS[kind]]
    if kind == "ngram":
        return (*out, "--speculative-num-draft-tokens", str(guessed))
    if not drafts:
        raise LoadFailed(f"Speculation by {kind} needs a draft model.", hint="Name one in draft_model.",
                         param="draft_model")  # fmt: skip
    # It wants all three or none: so many steps, one candidate each, and the token that is checked anyway.
    out += ["--speculative-num-steps", str(guessed), "--speculative-eagle-topk", "1"]
    out += ["--speculative-num-draft-tokens", str(guessed + 1), "--speculative-draft-model-path", drafts[0].path]
    return tuple(out)

"""Hugging Face Transformers: models in safetensors folders, on processor or graphics cards, in our worker.

This file says what there is to set and what the files of a model ask for; everything that needs torch is in
loaders/hf/. Nothing here ever asks a hub, runs code out of a model's folder, or reads pickled weights when there are
safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.text.hf_folder import DEFAULT_CONTEXT, check_folder
from loaders.text.quantization_needs import packages_of
from modules.errors import LoadFailed
from modules.estimates.safetensors import estimate_safetensors
from modules.estimates.torch_fallback import TORCH_LADDER
from modules.sampling.params import TORCH, dialect

if TYPE_CHECKING:
    from loaders.base import EngineBackend

_SIZE, _PLACE, _QUANT, _LORA, _GUESS, _SPEED = (
    "General", "Devices", "Quantisation", "LoRA", "Speculative decoding", "Speed and memory",
)  # fmt: skip

_FORMATS = ("safetensors", "gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors", "hqq", "pickle", "gguf")

SPEC = LoaderSpec(
    name="transformers",
    title="Transformers (Hugging Face folders, on processor or graphics card)",
    rank=20,
    formats=_FORMATS,
    format_needs=packages_of(_FORMATS),
    params=(
        LoadParam("context", "int", 0, "Context",
                  f"Tokens of prompt and reply together. 0 = what the model was made for, at most {DEFAULT_CONTEXT}.",
                  0, 2**22, 256, group=_SIZE),
        LoadParam("parallel", "int", 8, "Parallel requests",
                  "Replies that run at the same time; each may use the whole context.", 1, 64, 1, group=_SIZE),
        LoadParam("dtype", "choice", "auto", "Number type", "auto = as the files are stored, where the device can.",
                  choices=("auto", "float32", "bfloat16", "float16"), group=_SIZE),
        LoadParam("device", "choice", "auto", "Device", "auto = a graphics card where there is one.",
                  choices=("auto", "cpu", "cuda", "mps", "xpu"), group=_PLACE),
        LoadParam("device_map", "choice", "off", "Spread over devices",
                  "off = all on one device; auto = cards first, then memory, then disk; the others share differently.",
                  choices=("off", "auto", "balanced", "balanced_low_0", "sequential"), group=_PLACE),
        LoadParam("max_memory", "text", "", "Memory per device",
                  "What the weights may take, for spreading: 0=20GiB, 1=10GiB, cpu=64GiB. Empty = all that is free.",
                  group=_PLACE),
        LoadParam("disk_offload", "bool", False, "Rest on disk",
                  "Layers that fit nowhere are read from disk for every token. Very slow.", group=_PLACE),
        LoadParam("quantization", "choice", "none", "Quantise while loading",
                  "Makes a model's weights smaller; not for models that are quantised already.",
                  choices=("none", "bnb-8bit", "bnb-nf4", "bnb-fp4", "torchao-int8", "torchao-int4", "hqq-4bit",
                           "hqq-8bit"), group=_QUANT),
        LoadParam("double_quantization", "bool", False, "Quantise twice",
                  "bnb-nf4 and bnb-fp4: the scales are quantised too, about 0.4 bit a weight less.", group=_QUANT),
        LoadParam("lora", "files", "", "LoRA adapters",
                  "Folders of the models folder, as name or name=strength, with commas between.", files="adapter",
                  group=_LORA),
        LoadParam("draft_model", "files", "", "Draft model",
                  "A small model with the same vocabulary that writes ahead. The text stays the same.", files="model",
                  group=_GUESS),
        LoadParam("draft_tokens", "int", 8, "Tokens ahead", "How far is guessed at most.", 1, 32, 1, group=_GUESS),
        LoadParam("prompt_lookup", "bool", False, "Prompt lookup",
                  "Guesses that what stood in the text before comes again; good for summaries and edits.",
                  group=_GUESS),
        LoadParam("attention", "choice", "auto", "Attention", "auto = PyTorch's own (sdpa).",
                  choices=("auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"),
                  group=_SPEED),
        LoadParam("cache", "choice", "dynamic", "Cache",
                  "static = reserved for the whole context, one reply after the other within a step; for compiling.",
                  choices=("dynamic", "static"), group=_SPEED),
        LoadParam("compile", "bool", False, "Compile",
                  "torch.compile: minutes for the first reply, faster afterwards; best with a static cache.",
                  group=_SPEED),
        LoadParam("threads", "int", 0, "Threads", "Processor threads. 0 = one per physical core.", 0, 512, 1,
                  group=_SPEED),
        LoadParam("batch_size", "int", 0, "Batch size",
                  "Prompt tokens between two looks at the outside. 0 = 256 on a processor, 2048 on a graphics card.",
                  0, 16384, 32, group=_SPEED),
        LoadParam("prompt_cache_mib", "int", 1024, "Prompt cache",
                  "MiB of memory for the computed prompts of chats that are not running now. 0 = none.", 0, 1_000_000,
                  256, group=_SPEED),
    ),
    samplers=dialect(TORCH),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.EMBEDDINGS, Feature.LORA, Feature.SPECULATION, Feature.NEGATIVE_PROMPT,
        Feature.VISION,
    }),
    load="loaders.transformers:load",
    needs="transformers",
    requirements="transformers",
    estimate=estimate_safetensors,
    ladder=TORCH_LADDER,
)  # fmt: skip


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EngineBackend:
    """Load a folder, or a GGUF file. Raises LoadFailed with the reason and the next step."""
    progress(0.01, "reading the model's description")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HOME"] = request.scratch  # whatever a library wants to store does not go to a person's home
    check_folder(Path(request.path))
    progress(0.02, "starting PyTorch")
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise LoadFailed(f"Transformers cannot be started: {error}",
                         hint="Install it: python3 start.py install transformers") from error  # fmt: skip
    from loaders.hf.backend import open_backend

    return open_backend(request, SPEC, progress)

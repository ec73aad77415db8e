"""The settings of llama.cpp, as the Model tab and the API have them. An unchanged one leaves the choice to the engine.

Source of what they mean: llama.cpp, tools/server/README.md and common/arg.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loaders.base import LoadParam

DEFAULT_CONTEXT = 8192
KV_TYPES = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "f32")
SPECULATION = (
    "auto", "off", "draft-simple", "draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark", "ngram-simple",
    "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache",
)  # fmt: skip
NEEDS_DRAFT = frozenset({"draft-simple", "draft-eagle3", "draft-dflash", "draft-dspark"})
"""Kinds of speculation that cannot do without a second file."""

MEMORY, SPEED, CONTEXT, STRETCH, ADAPTERS, GUESSING, IMAGES, VECTORS = (
    "Memory", "Speed", "Context", "RoPE scaling", "Adapters", "Speculative decoding", "Images", "Embeddings",
)  # fmt: skip
_WHOLE = 2**31 - 1


def _i(
    name: str,
    label: str,
    help: str,
    default: int,
    low: int,
    high: int,
    group: str,
    step: int = 1,
    special: Mapping[float, str] | None = None,
) -> LoadParam:
    return LoadParam(name, "int", default, label, help, low, high, step, group=group, special=special or {})


def _f(name: str, label: str, help: str, default: float, low: float, high: float, group: str) -> LoadParam:
    return LoadParam(name, "float", default, label, help, low, high, 0.01, group=group)


def _b(name: str, label: str, help: str, default: bool, group: str) -> LoadParam:
    return LoadParam(name, "bool", default, label, help, group=group)


def _c(name: str, label: str, help: str, choices: tuple[str, ...], group: str) -> LoadParam:
    return LoadParam(name, "choice", choices[0], label, help, choices=choices, group=group)


def _t(name: str, label: str, help: str, group: str, **more: Any) -> LoadParam:
    return LoadParam(name, "files" if more else "text", "", label, help, group=group, **more)


SETTINGS: tuple[LoadParam, ...] = (
    _i("context", "Context length",
       f"Tokens of prompt and reply together. 0 = what the model was made for, at most {DEFAULT_CONTEXT}.",
       0, 0, 2**22, CONTEXT, 256, {0: "what the model was made for"}),
    _i("parallel", "Parallel requests",
       "Replies that run at the same time; they share the context, and one alone may use all of it.",
       4, 1, 64, CONTEXT),
    _b("context_shift", "Context shift",
       "When a reply fills the context, its oldest part is forgotten and the reply goes on. Off = the reply ends.",
       False, CONTEXT),
    _i("prompt_cache_mib", "Prompt cache",
       "MiB of memory for the computed prompts of chats that are not in a slot now. 0 = none.",
       1024, 0, 1_000_000, CONTEXT, 256),
    _i("cache_reuse", "Prompt-cache reuse (cache_reuse)",
       "Parts of a prompt of at least this many tokens that only moved are not computed again; the result is nearly, "
       "not exactly, the same. 0 = off.", 0, 0, _WHOLE, CONTEXT, 64),

    _c("rope_scaling", "RoPE scaling", "How positions beyond the trained context are squeezed in. model = as it says.",
       ("model", "none", "linear", "yarn"), STRETCH),
    _f("rope_scale", "RoPE scale factor",
       "How many times longer the context becomes than the model was made for. 0 = as "
       "the model says.", 0.0, 0.0, 1024.0, STRETCH),
    _f("rope_freq_base", "RoPE base frequency", "For NTK-aware scaling. 0 = as the model says.",
       0.0, 0.0, 1e9, STRETCH),
    _i("yarn_orig_ctx", "YaRN: original context", "Tokens the model was trained for. 0 = as the model says.",
       0, 0, _WHOLE, STRETCH, 256),
    _f("yarn_ext_factor", "YaRN: extrapolation", "0 = interpolation only. -1 = the usual value.", -1.0, -1.0, 100.0,
       STRETCH),
    _f("yarn_attn_factor", "YaRN: attention", "Scales the attention. -1 = the usual value.", -1.0, -1.0, 100.0,
       STRETCH),
    _f("yarn_beta_fast", "YaRN: beta fast", "Low correction. -1 = the usual value.", -1.0, -1.0, 1000.0, STRETCH),
    _f("yarn_beta_slow", "YaRN: beta slow", "High correction. -1 = the usual value.", -1.0, -1.0, 1000.0, STRETCH),

    _i("gpu_layers", "GPU layers", "Layers on the GPU. -1 = as many as fit, 0 = none.", -1, -1, 1000, MEMORY,
       special={-1: "as many as fit", 0: "none"}),
    _c("cache_type_k", "KV cache type, keys", "Smaller types save memory.", KV_TYPES, MEMORY),
    _c("cache_type_v", "KV cache type, values",
       "Smaller types save memory; other than f16, bf16 and f32 they need flash attention.", KV_TYPES, MEMORY),
    _b("kv_offload", "KV cache on the GPU", "Off = it stays in RAM.", True, MEMORY),
    _c("split_mode", "Split mode",
       "layer = whole layers, row = rows of each matrix, tensor = in parallel, none = one GPU only.",
       ("layer", "row", "tensor", "none"), MEMORY),
    _t("tensor_split", "Tensor split",
       "Proportions with commas between, for example 3,1. Empty = by free memory.", MEMORY),
    _i("main_gpu", "Main GPU", "The GPU for what is not split, counted from 0.", 0, 0, 127, MEMORY),
    _i("cpu_moe", "MoE experts on CPU (n_cpu_moe)",
       "Of a mixture of experts: the experts of the first n layers stay in RAM. -1 = all, 0 = none.",
       0, -1, 1000, MEMORY),
    _t("override_tensor", "Tensor overrides",
       "pattern=buffer with commas between, for example blk\\.[0-9]\\.ffn=CPU.", MEMORY),
    _b("op_offload", "Offload large batches to the GPU",
       "Also for layers that stay in RAM.", True, MEMORY),
    _b("mmap", "mmap", "Use the file's pages in place instead of copying them.", True, MEMORY),
    _b("mlock", "mlock", "Keep the system from swapping the model out.", False, MEMORY),
    _c("numa", "NUMA", "For machines with several CPUs.", ("off", "distribute", "isolate", "numactl"), MEMORY),
    _b("swa_full", "Full cache for sliding windows",
       "Models with a sliding window keep the whole context, so that more of a prompt can be used again. Costs memory.",
       False, MEMORY),

    _i("threads", "Threads", "CPU threads for generation. 0 = one per core.", 0, 0, 512, SPEED),
    _i("threads_batch", "Batch threads", "CPU threads for prompt processing. 0 = as for generation.",
       0, 0, 512, SPEED),
    _i("batch_size", "Logical max. batch size (n_batch)",
       "Prompt tokens per step: smaller shows progress and stops sooner.",
       512, 32, 8192, SPEED, 32),
    _i("ubatch_size", "Physical max. batch size (n_ubatch)", "Prompt tokens computed at once; costs memory.",
       512, 32, 8192, SPEED, 32),
    _c("flash_attention", "Flash attention", "auto = where the engine supports it.", ("auto", "on", "off"), SPEED),

    _t("lora", "LoRA adapters", "Files of the models folder, as name or name=strength, with commas between. A request "
       "can switch them.", ADAPTERS, files="adapter"),
    _t("control_vectors", "Control vectors", "Files of the models folder, as name or name=strength.",
       ADAPTERS, files="control-vector"),
    _i("control_vector_start", "Control vectors: first layer", "0 = from the first on.", 0, 0, 1000, ADAPTERS),
    _i("control_vector_end", "Control vectors: last layer", "0 = to the last.", 0, 0, 1000, ADAPTERS),

    _c("speculation", "Speculative decoding",
       "Guess several tokens ahead and check them; the text stays the same. auto = when there is a draft model; "
       "draft-mtp uses the model's own extra layers, the ngram kinds what was written before.", SPECULATION, GUESSING),
    _t("draft_model", "Draft model", "A small model with the same vocabulary, of the models folder.",
       GUESSING, files="model"),
    _i("draft_max", "Draft max tokens", "Tokens drafted at once. 0 = the engine's choice.", 0, 0, 256, GUESSING),
    _i("draft_min", "Draft min tokens", "Shorter drafts are not used. 0 = the engine's choice.", 0, 0, 256,
       GUESSING),
    _f("draft_p_min", "Draft min probability", "Drafting stops below it. 0 = the engine's choice.", 0.0, 0.0, 1.0,
       GUESSING),
    _i("draft_gpu_layers", "Draft GPU layers", "-1 = as many as fit, 0 = none.", -1, -1, 1000, GUESSING),
    _c("draft_cache_type_k", "Draft KV cache type, keys", "Smaller types save memory.", KV_TYPES, GUESSING),
    _c("draft_cache_type_v", "Draft KV cache type, values", "Smaller types save memory.", KV_TYPES, GUESSING),
    _i("ngram_match", "N-grams: tokens that have to match", "0 = the engine's choice.", 0, 0, 256, GUESSING),
    _i("ngram_draft", "N-grams: tokens guessed", "0 = the engine's choice.", 0, 0, 256, GUESSING),

    _t("mmproj", "Vision projector (mmproj)",
       "The model's mmproj file, of the models folder; without it the model takes no images.",
       IMAGES, files="mmproj"),
    _b("mmproj_offload", "Vision projector on the GPU", "Off = on the CPU.", True, IMAGES),
    _i("image_min_tokens", "Image min tokens", "For models with images of any size. 0 = as the model says.",
       0, 0, 16384, IMAGES, 64),
    _i("image_max_tokens", "Image max tokens", "For models with images of any size. 0 = as the model says.",
       0, 0, 16384, IMAGES, 64),

    _c("mode", "Used for", "auto = what the file says it was made for.", ("auto", "text", "embeddings", "rerank"),
       VECTORS),
    _c("pooling", "Pooling", "How one vector is made of all tokens. model = as it says.",
       ("model", "mean", "cls", "last"), VECTORS),
)  # fmt: skip

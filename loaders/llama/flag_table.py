"""Which of our settings is which flag of llama-server and which field of the binding, where that is one to one."""

from __future__ import annotations

from dataclasses import dataclass

from loaders.base import LoadParam
from loaders.llama.settings import SETTINGS
from modules.types import ParamValue


@dataclass(frozen=True, slots=True)
class Row:
    """One setting.

    flags   names of the flag, the newest first; for a bool the one that turns it away from the default
    field   attribute of xllamacpp's CommonParams, with dots
    enum    "type:PREFIX_" where the field is an enumeration of the binding
    """

    setting: str
    flags: tuple[str, ...]
    field: str
    enum: str = ""


_TYPES = "ggml_type:GGML_TYPE_"

ROWS: tuple[Row, ...] = (
    Row("gpu_layers", ("--gpu-layers", "--n-gpu-layers"), "n_gpu_layers"),
    Row("split_mode", ("--split-mode",), "split_mode", "llama_split_mode:LLAMA_SPLIT_MODE_"),
    Row("main_gpu", ("--main-gpu",), "main_gpu"),
    Row("cache_type_k", ("--cache-type-k",), "cache_type_k", _TYPES),
    Row("cache_type_v", ("--cache-type-v",), "cache_type_v", _TYPES),
    Row("kv_offload", ("--no-kv-offload",), "no_kv_offload"),
    Row("op_offload", ("--no-op-offload",), "no_op_offload"),
    Row("numa", ("--numa",), "numa", "ggml_numa_strategy:GGML_NUMA_STRATEGY_"),
    Row("swa_full", ("--swa-full",), "swa_full"),
    Row("context_shift", ("--context-shift",), "ctx_shift"),
    Row("cache_reuse", ("--cache-reuse",), "n_cache_reuse"),
    Row("rope_scaling", ("--rope-scaling",), "rope_scaling_type", "llama_rope_scaling_type:LLAMA_ROPE_SCALING_TYPE_"),
    Row("rope_freq_base", ("--rope-freq-base",), "rope_freq_base"),
    Row("yarn_orig_ctx", ("--yarn-orig-ctx",), "yarn_orig_ctx"),
    Row("yarn_ext_factor", ("--yarn-ext-factor",), "yarn_ext_factor"),
    Row("yarn_attn_factor", ("--yarn-attn-factor",), "yarn_attn_factor"),
    Row("yarn_beta_fast", ("--yarn-beta-fast",), "yarn_beta_fast"),
    Row("yarn_beta_slow", ("--yarn-beta-slow",), "yarn_beta_slow"),
    Row("mmproj_offload", ("--no-mmproj-offload",), "mmproj_use_gpu"),
    Row("image_min_tokens", ("--image-min-tokens",), "image_min_tokens"),
    Row("image_max_tokens", ("--image-max-tokens",), "image_max_tokens"),
    Row("draft_max", ("--spec-draft-n-max", "--draft-max"), "speculative.draft.n_max"),
    Row("draft_min", ("--spec-draft-n-min", "--draft-min"), "speculative.draft.n_min"),
    Row("draft_p_min", ("--spec-draft-p-min", "--draft-p-min"), "speculative.draft.p_min"),
    Row("draft_gpu_layers", ("--spec-draft-ngl", "--gpu-layers-draft"), "speculative.draft.n_gpu_layers"),
    Row("draft_cache_type_k", ("--spec-draft-type-k", "--cache-type-k-draft"), "speculative.draft.cache_type_k",
        _TYPES),
    Row("draft_cache_type_v", ("--spec-draft-type-v", "--cache-type-v-draft"), "speculative.draft.cache_type_v",
        _TYPES),
    Row("pooling", ("--pooling",), "pooling_type", "llama_pooling_type:LLAMA_POOLING_TYPE_"),
)  # fmt: skip

_PARAMS: dict[str, LoadParam] = {param.name: param for param in SETTINGS}


def default(setting: str) -> ParamValue:
    """The value that leaves the choice to the engine."""
    return _PARAMS[setting].default

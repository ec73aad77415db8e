"""What is known of a model before it is loaded, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model, or what looks like one. A number the files do not give is None, a text "".

    format        "gguf", "safetensors", "gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors", "hqq", "exl2",
                  "exl3", "pickle", "onnx", "ggml" (all older ones), "endpoint", "lfs-pointer", "web-page", "unknown"
    kind          "model", "adapter", "mmproj", "control-vector", "imatrix", "embedding", "reranker", "image"
    arch          architecture as the format names it ("llama", "LlamaForCausalLM")
    quant         quantisation in the words people know ("Q4_K_M", "4.5 bpw", "nf4", "bfloat16")
    size          bytes of all parts on disk
    weights       bytes of the weights alone; None when not known
    parameters    weights as a count
    context_length  tokens it was trained for
    layers, hidden, heads, kv_heads, head_dim, vocabulary   the usual dimensions
    kv_layers     layers that keep keys and values for the whole context (hybrids have fewer than `layers`)
    window        tokens a sliding-window layer keeps; None without
    window_layers layers that keep only the window
    capabilities  of "images", "audio", "tools", "thinking", "template", "embeddings", "rerank", "fill in the middle"
    languages     as stated by the makers, ISO 639 codes
    base          for an adapter: the model it was made for, as stated
    reason        why it cannot be run as a model here, whatever loaders there are; "" when nothing speaks against it
    hint          the next step for `reason`
    extra         further plain values of the header or config an estimate needs
    """

    format: str
    kind: str = "model"
    arch: str = ""
    name: str = ""
    quant: str = ""
    size: int = 0
    weights: int | None = None
    parameters: int | None = None
    context_length: int | None = None
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary: int | None = None
    kv_layers: int | None = None
    window: int | None = None
    window_layers: int = 0
    capabilities: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    base: str = ""
    reason: str = ""
    hint: str = ""
    extra: Mapping[str, int | float | str | bool | tuple[int | float | bool, ...]] = field(default_factory=dict)

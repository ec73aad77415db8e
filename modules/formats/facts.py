"""What is known of a model before it is loaded, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modules.formats.problems import Problem


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model, or what looks like one. A number the files do not give is None, a text "".

    format        "gguf", "safetensors", "gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors", "hqq", "exl2",
                  "exl3", "pickle", "onnx", "ggml" (all older ones), "endpoint", "lfs-pointer", "web-page", "unknown";
                  also "mlx", "tensorrt-llm" and other quantisations by the name their config gives ("torchao", "mxfp4")
    kind          "model", "adapter", "mmproj", "control-vector", "imatrix", "embedding", "reranker", "image",
                  "speech", "classifier", "other"
    arch          architecture as the format names it ("llama", "LlamaForCausalLM")
    quant         quantisation in the words people know ("Q4_K_M", "4.5 bpw", "nf4", "bfloat16")
    size          bytes of all parts on disk
    weights       bytes of the weights alone; None when not known
    parameters    weights as a count
    context_length  tokens it was trained for
    layers, hidden, heads, kv_heads, head_dim, vocabulary   the usual dimensions
    kv_layers     layers that keep keys and values for the whole context: `layers` less `window_layers`, less those of
                  a hybrid that keep a state of fixed size, less those that use another layer's
    head_dim      numbers of one key head; values may differ, see value_length
    window        tokens a sliding-window layer keeps; None without
    window_layers layers that keep only the window
    capabilities  of "images", "audio", "tools", "thinking", "template", "embeddings", "rerank", "fill in the middle"
    languages     as stated by the makers, ISO 639 codes
    base          for an adapter: the model it was made for, as stated
    problem       why it cannot be run as a model here, whatever loaders there are; None when nothing speaks against it
    extra         further plain values an estimate needs; a key that is not known is not there:
        block_bytes           weights of each block in order, in bytes; expert_bytes: those of its routed experts
        embedding_bytes       token embedding; output_bytes: the output matrix, 0 where the embedding serves as one
        tower_bytes           image and sound parts inside the same files; other_bytes: all else outside the blocks
        key_length, value_length              per head; key_length_window, value_length_window where they differ
        kv_heads_by_layer                     where layers differ; 0 = keeps no keys and values
        kv_lora_rank, rope_dim                latent attention: one vector of their sum per token and layer
        experts, experts_used, shared_experts, feed_forward, expert_feed_forward
        recurrent_layers, conv_kernel, state_size, inner_size, state_groups, state_heads   of a hybrid's state
        nextn_layers          further layers at the end for guessing tokens ahead, not in `layers`
        chunk                 True where `window` is a chunk (Llama 4), not a sliding one
        leaves                the hosts text goes to, for an endpoint that is not this machine
        tokenizer             kind of tokenizer and of its splitting, in GGUF's words; the same tokens have the same
        rope_base, dtype, bits, pooling, labels, tied, remote_code, scalars of that name
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
    problem: Problem | None = None
    extra: Mapping[str, int | float | str | bool | tuple[int | float | bool, ...]] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The problem in words, for people; "" without one."""
        return "" if self.problem is None else str(self.problem)

    @property
    def hint(self) -> str:
        """The next step, for people; "" without one."""
        return "" if self.problem is None else self.problem.hint

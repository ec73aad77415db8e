"""The dimensions of a model from its config.json, whatever its family calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Extra = dict[str, int | float | str | bool | tuple[int | float | bool, ...]]
_MOST = 2**40
_TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim", "model_dim"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "num_decoder_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels", "d_kv"),
    "vocabulary": ("vocab_size", "n_vocab", "padded_vocab_size"),
    "context_length": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length",
                       "max_sequence_length", "model_max_length"),
}  # fmt: skip
_EXTRA: Mapping[str, tuple[str, ...]] = {
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "experts_used": ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"),
    "shared_experts": ("n_shared_experts", "num_shared_experts"),
    "feed_forward": ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size"),
    "expert_feed_forward": ("moe_intermediate_size",),
    "kv_lora_rank": ("kv_lora_rank",), "rope_dim": ("qk_rope_head_dim",), "rope_base": ("rope_theta",),
    "value_length": ("v_head_dim",),
    "conv_kernel": ("linear_conv_kernel_dim", "conv_kernel", "mamba_d_conv", "conv_L_cache"),
    "state_size": ("linear_key_head_dim", "ssm_state_size", "mamba_d_state", "state_size"),
    "state_heads": ("linear_num_value_heads", "mamba_num_heads", "mamba_n_heads"),
    "state_groups": ("n_groups", "mamba_n_groups"), "inner_size": ("mamba_d_ssm", "intermediate_size_mamba"),
    "nextn_layers": ("num_nextn_predict_layers", "mtp_num_hidden_layers"),
    "shared_kv_layers": ("num_kv_shared_layers",),
}  # fmt: skip
# What a family leaves out of its config.json because it is the default of its class in Transformers.
_DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "gemma3_text": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262_208,
                    "max_position_embeddings": 131_072, "sliding_window": 4096, "sliding_window_pattern": 6},
    "gemma2": {"sliding_window": 4096, "sliding_window_pattern": 2},
    "cohere2": {"sliding_window_pattern": 4},
}  # fmt: skip
_FULL = frozenset({"full_attention", "attention", "global", "hybrid"})
_WINDOW = frozenset({"sliding_attention", "chunked_attention", "local", "sliding_window"})


@dataclass(frozen=True, slots=True)
class HfConfig:
    """One config.json. `text` is the part about the language model, which is `whole` where there is no other part."""

    whole: Mapping[str, Any]
    text: Mapping[str, Any]

    @classmethod
    def of(cls, whole: Mapping[str, Any]) -> HfConfig:
        """The config with its text part found."""
        text: Mapping[str, Any] = whole
        for _ in range(2):  # thinker_config holds a text_config
            inner = next((text[name] for name in _TEXT_PARTS if isinstance(text.get(name), dict) and text[name]), None)
            if inner is None:
                break
            text = {**_shallow(text), **inner}
        kind = text.get("model_type")
        return cls(whole, {**_DEFAULTS.get(kind, {}), **text} if isinstance(kind, str) else text)

    @property
    def architecture(self) -> str:
        """The class that Transformers would make of it."""
        named = self.whole.get("architectures")
        first = named[0] if isinstance(named, list) and named else ""
        return first[:100] if isinstance(first, str) else ""

    @property
    def model_type(self) -> str:
        """The family."""
        value = self.whole.get("model_type", "")
        return value[:100] if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """One of the usual dimensions by our name."""
        return _first(self.text, _NAMES[name])

    @property
    def head_dim(self) -> int | None:
        """Numbers of one key."""
        nope, rope = _first(self.text, ("qk_nope_head_dim",)), _first(self.text, ("qk_rope_head_dim",))
        if nope is not None and rope is not None:
            return nope + rope
        stated, heads, hidden = self.number("head_dim"), self.number("heads"), self.number("hidden")
        return stated if stated is not None else hidden // heads if heads and hidden else None

    @property
    def kv_heads(self) -> int | None:
        """Heads of keys and values; as many as there are heads where nothing else is said."""
        if self.text.get("multi_query") is True and not self.text.get("new_decoder_architecture"):
            return 1
        stated = self.number("kv_heads")
        return stated if stated is not None else self.number("heads")

    @property
    def window(self) -> int | None:
        """Tokens of the sliding window, None where none is used."""
        if self.text.get("use_sliding_window") is False:
            return None
        return _first(self.text, ("sliding_window", "attention_chunk_size", "sliding_window_size")) or None

    def split_layers(self) -> tuple[int | None, int, int]:
        """Layers that keep the whole context, only the window, only a state."""
        layers = self.number("layers")
        if layers is None or layers > 10_000:
            return None, 0, 0
        kinds = self._kinds(layers)
        own = layers - min(layers, _first(self.text, ("num_kv_shared_layers",)) or 0)
        return kinds[:own].count("full"), kinds[:own].count("window"), kinds.count("state")

    def _kinds(self, layers: int) -> list[str]:
        """For each layer what it keeps: "full", "window", "state", or "" for nothing."""
        stated = self.text.get("layer_types") or self.text.get("layers_block_type")
        if isinstance(stated, list) and len(stated) >= layers:
            return [
                "window" if one in _WINDOW and self.window else "full" if one in _FULL | _WINDOW else "state"
                for one in (str(one) for one in stated[:layers])
            ]
        pattern = self.text.get("hybrid_override_pattern")
        if isinstance(pattern, str) and len(pattern) >= layers:  # Nemotron-H: M a state, * attention, - and E neither
            return [{"*": "full", "M": "state"}.get(one, "") for one in pattern[:layers]]
        if self.model_type in ("mamba", "mamba2", "falcon_mamba", "rwkv", "rwkv6", "rwkv7", "xlstm"):
            return ["state"] * layers
        every, offset = self._every()
        if every:
            return ["full" if at % every == offset else "state" for at in range(layers)]
        listed = self.text.get("attn_layer_indices") or self.text.get("full_attn_idxs")
        if isinstance(listed, list) and all(isinstance(one, int) for one in listed):
            attends = frozenset(listed)
            return ["full" if at in attends else "state" for at in range(layers)]
        if not self.window:
            return ["full"] * layers
        step = _first(self.text, ("sliding_window_pattern", "_sliding_window_pattern"))
        if step:
            return ["full" if at % step == step - 1 else "window" for at in range(layers)]
        from_layer = _first(self.text, ("max_window_layers",))
        return ["window" if from_layer is None or at >= from_layer else "full" for at in range(layers)]

    def _every(self) -> tuple[int, int]:
        """Every how many layers one has attention, and at which place of them; 0 where that is not how it is said."""
        period = _first(self.text, ("attn_layer_period",))
        if period:
            return period, _first(self.text, ("attn_layer_offset",)) or 0
        interval = _first(self.text, ("full_attention_interval",))
        return (interval, interval - 1) if interval else (0, 0)

    def extra(self) -> Extra:
        """The further values an estimate needs."""
        found: Extra = {}
        for ours, names in _EXTRA.items():
            value = next((self.text[name] for name in names if name in self.text), None)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _MOST:
                found[ours] = value
        dtype = self.text.get("dtype") or self.text.get("torch_dtype") or self.whole.get("torch_dtype")
        if isinstance(dtype, str):
            found["dtype"] = dtype.removeprefix("torch.")[:32]
        tied = self.whole.get("tie_word_embeddings", self.text.get("tie_word_embeddings"))
        if isinstance(tied, bool):
            found["tied"] = tied
        if isinstance(self.whole.get("auto_map"), dict):
            found["remote_code"] = True
        if "attention_chunk_size" in self.text and "sliding_window" not in self.text:
            found["chunk"] = True
        labels = self.whole.get("id2label")
        if isinstance(labels, dict):
            found["labels"] = len(labels)
        return found

    def media(self) -> tuple[str, ...]:
        """Of "images" and "audio", what the model takes besides text."""
        thinker = self.whole.get("thinker_config")
        whole = {**self.whole, **(thinker if isinstance(thinker, dict) else {})}
        sight = any(isinstance(whole.get(name), dict) for name in ("vision_config", "visual", "vision_tower_config"))
        sight = sight or "mm_vision_tower" in whole or isinstance(whole.get("vision_tower"), str)
        sound = any(isinstance(whole.get(name), dict) for name in ("audio_config", "audio_encoder", "speech_config"))
        return ("images",) * sight + ("audio",) * sound


def _first(values: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = values.get(name)
        if isinstance(value, list) and value and all(type(one) is int for one in value):
            value = max(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST:
            return value
    return None


def _shallow(values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a config, which hold for its text part too unless that says otherwise."""
    return {name: one for name, one in values.items() if not isinstance(one, (dict, list))}

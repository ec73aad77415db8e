"""Small real files that go with a model: adapters, control vectors, an image part, and tiny models that make vectors.

The weights are random from a fixed seed; the engine loads and computes with them like with any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

HIDDEN, LAYERS, INNER = 576, 30, 1536
"""SmolLM2-135M's dimensions."""


def _normal(rng: np.random.Generator, scale: float, *shape: int) -> Any:
    return rng.normal(0, scale, shape).astype(np.float32)


def _written(writer: gguf.GGUFWriter, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def adapter(path: Path, seed: int = 1, strength: float = 0.12) -> Path:
    """A LoRA adapter for SmolLM2 that changes its text."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for layer in range(0, LAYERS, 3):
        name = f"blk.{layer}.ffn_down.weight"
        writer.add_tensor(f"{name}.lora_a", _normal(rng, strength, 2, INNER))
        writer.add_tensor(f"{name}.lora_b", _normal(rng, strength, HIDDEN, 2))
    return _written(writer, path)


def control_vector(path: Path, strength: float = 2.0) -> Path:
    """A direction for every layer of SmolLM2."""
    rng = np.random.default_rng(2)
    writer = gguf.GGUFWriter(None, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    for layer in range(1, LAYERS):
        writer.add_tensor(f"direction.{layer}", _normal(rng, strength, HIDDEN))
    return _written(writer, path)


def image_part(path: Path) -> Path:
    """A LLaVA-like image part of one block for SmolLM2: 64 pixels, four patches."""
    rng = np.random.default_rng(3)
    width, patch, side = 64, 32, 64
    writer = gguf.GGUFWriter(None, "clip")
    writer.add_type("mmproj")
    for key in ("has_vision_encoder", "has_llava_projector", "use_gelu"):
        writer.add_bool(f"clip.{key}", True)
    writer.add_string("clip.projector_type", "mlp")
    numbers = {"image_size": side, "patch_size": patch, "embedding_length": width, "feed_forward_length": 128,
               "projection_dim": HIDDEN, "block_count": 2, "attention.head_count": 2}  # fmt: skip
    for key, value in numbers.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    positions = (side // patch) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "v.class_embd": (width,), "v.patch_embd.weight": (width, 3, patch, patch),
        "v.position_embd.weight": (positions, width), "v.pre_ln.weight": (width,), "v.pre_ln.bias": (width,),
        "mm.0.weight": (HIDDEN, width), "mm.0.bias": (HIDDEN,), "mm.2.weight": (HIDDEN, HIDDEN), "mm.2.bias": (HIDDEN,),
    }  # fmt: skip
    for block in range(2):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            shapes |= {f"v.blk.{block}.{part}.weight": (width, width), f"v.blk.{block}.{part}.bias": (width,)}
        for part in ("ln1", "ln2"):
            shapes |= {f"v.blk.{block}.{part}.weight": (width,), f"v.blk.{block}.{part}.bias": (width,)}
        ffn = f"v.blk.{block}.ffn_"
        shapes |= {f"{ffn}up.weight": (128, width), f"{ffn}up.bias": (128,),
                   f"{ffn}down.weight": (width, 128), f"{ffn}down.bias": (width,)}  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(name, _normal(rng, 0.1, *shape))
    return _written(writer, path)


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz",
         *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "the", "sea", "ship", "cat")  # fmt: skip


def vector_model(path: Path, ranks: bool = False) -> Path:
    """A BERT of one layer: for embeddings, or with a head that ranks."""
    rng = np.random.default_rng(4)
    width, inner = 32, 64
    writer = gguf.GGUFWriter(None, "bert")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK if ranks else gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(_tokens())
    writer.add_token_scores([0.0] * len(WORDS))
    writer.add_token_types([3] * 5 + [1] * (len(WORDS) - 5))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_eos_token_id(3)
    writer.add_mask_token_id(4)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(WORDS), width), "position_embd.weight": (64, width), "token_types.weight": (2, width),
        "token_embd_norm.weight": (width,), "token_embd_norm.bias": (width,),
        "blk.0.attn_output_norm.weight": (width,), "blk.0.attn_output_norm.bias": (width,),
        "blk.0.layer_output_norm.weight": (width,), "blk.0.layer_output_norm.bias": (width,),
        "blk.0.ffn_up.weight": (inner, width), "blk.0.ffn_up.bias": (inner,),
        "blk.0.ffn_down.weight": (width, inner), "blk.0.ffn_down.bias": (width,),
    }  # fmt: skip
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes |= {f"blk.0.{part}.weight": (width, width), f"blk.0.{part}.bias": (width,)}
    if ranks:
        shapes |= {"cls.weight": (width, width), "cls.bias": (width,), "cls.output.weight": (1, width),
                   "cls.output.bias": (1,)}  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(name, _normal(rng, 0.5, *shape))
    return _written(writer, path)


def _tokens() -> list[str]:
    """As the converter writes WordPiece: a word's beginning is marked, its rest is not."""
    special = WORDS[:5]
    return [*special, *(word[2:] if word.startswith("##") else f"\u2581{word}" for word in WORDS[5:])]

"""Makes small files and folders of every kind a models folder can hold, true to their formats, weights of zeros."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BITS = {"F32": 32, "F16": 16, "BF16": 16, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "U32": 32, "F8_E4M3": 8, "I64": 64}
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]

LLAMA_CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 2048,
    "intermediate_size": 128, "torch_dtype": "bfloat16", "tie_word_embeddings": False, "rope_theta": 10000.0,
}  # fmt: skip
LLAMA_TENSORS: Tensors = {
    "model.embed_tokens.weight": ("BF16", (96, 64)),
    **{f"model.layers.{n}.self_attn.q_proj.weight": ("BF16", (64, 64)) for n in range(2)},
    **{f"model.layers.{n}.self_attn.k_proj.weight": ("BF16", (16, 64)) for n in range(2)},
    "model.norm.weight": ("BF16", (64,)),
    "lm_head.weight": ("BF16", (96, 64)),
}


def safetensors(tensors: Tensors = LLAMA_TENSORS, metadata: Mapping[str, str] | None = None) -> bytes:
    """A whole safetensors file."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata is not None else {}
    end = 0
    for name, (dtype, shape) in tensors.items():
        count = 1
        for side in shape:
            count *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + count * BITS[dtype] // 8]}
        end += count * BITS[dtype] // 8
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + b"\0" * end


def hf_folder(
    folder: Path, config: Mapping[str, Any] = LLAMA_CONFIG, tensors: Tensors = LLAMA_TENSORS, parts: int = 1,
    tokenizer: Mapping[str, Any] | None = None, **files: str,
) -> Path:  # fmt: skip
    """A model folder. `files` are further texts, with "__" for the dot in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer or {}))
    if parts == 1:
        (folder / "model.safetensors").write_bytes(safetensors(tensors))
    else:
        names = list(tensors)
        where = {name: f"model-{at % parts + 1:05}-of-{parts:05}.safetensors" for at, name in enumerate(names)}
        for file in sorted(set(where.values())):
            (folder / file).write_bytes(safetensors({name: tensors[name] for name in names if where[name] == file}))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def torch_zip(names: Sequence[str] = ("archive/data.pkl", "archive/data/0", "archive/version")) -> bytes:
    """What torch.save writes; the pickle inside is empty."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02}q\x00." if name.endswith(".pkl") else b"0" * 64)
    return made.getvalue()


def torch_legacy() -> bytes:
    """What torch.save wrote before 1.6."""
    return b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03." + b"\0" * 100


def peft_folder(folder: Path, width: int = 64, layers: int = 2, base: str = "maker/Tiny", **config: Any) -> Path:
    """A LoRA adapter as PEFT saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 4, "lora_alpha": 8, **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number in range(layers):
        prefix = f"base_model.model.model.layers.{number}.self_attn.q_proj"
        tensors[f"{prefix}.lora_A.weight"] = ("F32", (4, width))
        tensors[f"{prefix}.lora_B.weight"] = ("F32", (width, 4))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors))
    return folder


def old_ggml(magic: bytes, *numbers: int, version: int | None = None) -> bytes:
    """The beginning of a model file of 2023: magic, version where it has one, whole numbers."""
    head = magic + (b"" if version is None else struct.pack("<i", version))
    return head + struct.pack(f"<{len(numbers)}i", *numbers) + b"\1" * 200


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 4976698672\n"
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x90\x01" + b"\0" * 200

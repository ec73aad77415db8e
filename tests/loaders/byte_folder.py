"""A model's folder whose tokens are bytes: what the ExLlama loaders read of it, and the stand-ins compute with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}" \
           "{% if add_generation_prompt %}[assistant] {% endif %}"  # fmt: skip


def letters() -> dict[str, int]:
    """GPT-2's letters for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def byte_folder(path: Path, **config: Any) -> Path:
    """Writes the folder. Token 0–255 is that byte, 256 ends a reply, 257 begins a prompt."""
    path.mkdir(parents=True)
    values = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 1024, "eos_token_id": 256,
              "quantization_config": {"quant_method": "exl3", "bits": 4.5}} | config  # fmt: skip
    (path / "config.json").write_text(json.dumps(values))
    tokens = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": TEMPLATE}
    (path / "tokenizer_config.json").write_text(json.dumps(tokens))
    added = [{"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for number, text in ((256, "</s>"), (257, "<s>"))]  # fmt: skip
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    rule = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}, "single": single}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": letters() | {"</s>": 256, "<s>": 257}, "merges": []}  # fmt: skip
    (path / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": rule, "decoder": level, "model": model,
    }))  # fmt: skip
    return path

"""Random models of a few layers with the starter model's tokenizer: quick, and right or wrong like a large one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loaders import transformers
from loaders.base import LoadRequest, NamedFile
from modules.types import Chunk, GenerationRequest

SIZES: Mapping[str, Any] = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip


def tokenizer_into(folder: Path, tokenizer: Path) -> None:
    """Put the tokenizer's files into a model's folder."""
    for file in tokenizer.iterdir():
        if "token" in file.name or file.suffix == ".jinja":
            shutil.copy(file, folder)


def make_llama(folder: Path, tokenizer: Path, seed: int = 1, **more: Any) -> Path:
    """A Llama of two layers, with weights large enough that its choices are clear."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=49152, initializer_range=0.3, **{**SIZES, **more})
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer_into(folder, tokenizer)
    return folder


def make_adapter(folder: Path, model: Path, seed: int) -> Path:
    """A LoRA adapter that changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    base = LlamaForCausalLM.from_pretrained(model)
    made = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]))
    for name, values in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.3)
    made.save_pretrained(folder)
    return folder


def load_here(
    folder: Path, scratch: Path, files: Mapping[str, tuple[NamedFile, ...]] | None = None, **settings: Any
) -> Any:
    """The loader's backend, in this process."""
    spec = transformers.SPEC
    chosen = spec.check_settings({"threads": 1, "dtype": "float32", "device": "cpu", **settings})
    request = LoadRequest(folder.name, str(folder), spec.name, chosen, str(scratch), files or {})
    return transformers.load(request, lambda fraction, stage: None)


def answer(backend: Any, request: GenerationRequest) -> list[Chunk]:
    """Every chunk of a reply."""
    return list(backend.generate(request, lambda: False))

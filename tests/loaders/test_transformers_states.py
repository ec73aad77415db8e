"""Architectures whose memory is a running state: a reply, and a next turn, see all that stood before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modules.errors import LoadFailed
from tests.engine.making import ask, done_of, text_of
from tests.loaders.hf_folder import hf_folder, needs_folder
from tests.loaders.tiny_models import answer, load_here, tokenizer_into

__all__ = ["hf_folder"]
pytestmark = [*needs_folder, pytest.mark.timeout(120)]
ENDS: dict[str, Any] = {"vocab_size": 49152, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
ATTENTION: dict[str, Any] = {
    **ENDS, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
MAMBA: dict[str, Any] = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 32,
}  # fmt: skip
PROMPT = "The lighthouse on the coast was built in 1820, and its keeper had a dog. " * 2


def config_of(kind: str) -> Any:
    import transformers

    if kind == "bamba":  # attention behind a state: the positions have to be right too
        return transformers.BambaConfig(**ATTENTION, **MAMBA, num_hidden_layers=2, attn_layer_indices=[1])
    if kind == "recurrent gemma":
        return transformers.RecurrentGemmaConfig(**ATTENTION, num_hidden_layers=3, lru_width=32)
    if kind == "mamba2":
        return transformers.Mamba2Config(
            **ENDS, hidden_size=32, state_size=8, num_heads=8, head_dim=8, n_groups=1, num_hidden_layers=2
        )
    return transformers.MambaConfig(**ENDS, hidden_size=32, state_size=8, num_hidden_layers=2)


def made(kind: str, folder: Path, tokenizer: Path) -> Any:
    """Saves a model whose choices are clear, and gives it."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config_of(kind)).eval()
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder)
    tokenizer_into(folder, tokenizer)
    return model


def greedy(model: Any, tokens: list[int], count: int) -> list[int]:
    """The likeliest continuation, each token with everything computed anew."""
    import torch

    tokens = list(tokens)
    start = len(tokens)
    with torch.inference_mode():
        for _ in range(count):
            tokens.append(int(model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
    return tokens[start:]


@pytest.mark.parametrize(
    ("kind", "in_pieces"), [("mamba", False), ("mamba2", True), ("recurrent gemma", False), ("bamba", True)]
)
def test_a_reply_and_the_next_turn_see_all_that_stood_before(
    kind: str, in_pieces: bool, hf_folder: Path, tmp_path: Path
) -> None:
    model = made(kind, tmp_path / "model", hf_folder)
    backend = load_here(tmp_path / "model", tmp_path, batch_size=32)
    assert backend.info.details["pieces"] is in_pieces
    assert ("notes" in backend.info.details) is not in_pieces
    params = {"temperature": 0.0, "max_tokens": 6, "ban_eos_token": True}
    text = PROMPT
    for _ in range(2):
        tokens = backend.tokenize(text, True)
        chunks = answer(backend, ask(tuple(tokens), params=params))
        said = text_of(chunks)
        assert said == backend.detokenize(greedy(model, tokens, 6))
        text += said + " And then what was there to be seen from the tower?"
    assert bool(done_of(chunks).stats.cached_tokens) is in_pieces
    backend.close()


def test_an_architecture_that_keeps_its_state_in_an_unknown_way_is_refused(hf_folder: Path, tmp_path: Path) -> None:
    from transformers import RwkvConfig, RwkvForCausalLM

    RwkvForCausalLM(RwkvConfig(**ENDS, hidden_size=32, num_hidden_layers=2)).save_pretrained(tmp_path / "model")
    tokenizer_into(tmp_path / "model", hf_folder)
    with pytest.raises(LoadFailed, match="Rwkv") as caught:
        load_here(tmp_path / "model", tmp_path)
    assert "GGUF" in caught.value.hint

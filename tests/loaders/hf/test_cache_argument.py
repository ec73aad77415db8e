"""The argument of forward() that takes the KV cache: found by its type under any name, refused where there is none."""

from __future__ import annotations

from typing import Any, Optional

import pytest

pytest.importorskip("transformers", reason="the transformers loader is not installed")
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM
from transformers.cache_utils import Cache, EncoderDecoderCache

from loaders.hf.cache_argument import cache_argument
from modules.errors import LoadFailed


class Model:
    """A model as far as it is looked at: its forward(), and what the library says of it."""

    def __init__(self, forward: Any, *, takes_dynamic_cache: bool = True) -> None:
        self.forward = forward
        self._supports_default_dynamic_cache = lambda: takes_dynamic_cache


def forward_of(name: str, annotation: Any) -> Any:
    """A forward(input_ids, NAME: ANNOTATION = None, **kwargs)."""
    written: dict[str, Any] = {}
    exec(f"def forward(input_ids, {name}=None, **kwargs): ...", written)
    forward = written["forward"]
    forward.__annotations__[name] = annotation
    return forward


@pytest.mark.parametrize(
    "annotation",
    [Cache, DynamicCache, Cache | None, Optional[Cache], "Cache | None", "Optional[NotImported, Cache]"],  # noqa: UP045
    ids=str,
)
def test_an_argument_that_takes_a_cache_is_found_under_any_name(annotation: Any) -> None:
    assert cache_argument(Model(forward_of("a_name_of_tomorrow", annotation))) == "a_name_of_tomorrow"


@pytest.mark.parametrize("annotation", [int, str, object, Any, "int", dict[str, int] | None, EncoderDecoderCache, None])
def test_what_takes_something_else_is_not_taken_for_it(annotation: Any) -> None:
    with pytest.raises(LoadFailed, match="does not take a KV cache"):
        cache_argument(Model(forward_of("cache", annotation)))


def test_an_old_annotation_counts_where_the_library_says_the_model_takes_a_dynamic_cache() -> None:
    from transformers.generation.utils import ALL_CACHE_NAMES

    name = ALL_CACHE_NAMES[0]
    forward = forward_of(name, tuple[tuple[int]] | None)
    assert cache_argument(Model(forward)) == name
    with pytest.raises(LoadFailed):
        cache_argument(Model(forward, takes_dynamic_cache=False))
    with pytest.raises(LoadFailed):
        cache_argument(Model(forward_of("something", tuple[tuple[int]] | None)))


@pytest.mark.parametrize(
    ("family", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                       num_attention_heads=1)),
        (MambaForCausalLM, MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1)),
    ],
    ids=["keys and values", "a state"],
)  # fmt: skip
def test_models_of_the_installed_library_have_one(family: Any, config: Any) -> None:
    model = family(config)
    name = cache_argument(model)
    import torch

    with torch.inference_mode():
        cache = DynamicCache(config=config)
        model(input_ids=torch.tensor([[1, 2, 3]]), use_cache=True, **{name: cache})
        assert cache.has_previous_state() if family is MambaForCausalLM else cache.get_seq_length() == 3

"""One call of the model: tokens in, logits of the last positions out, keys and values into a cache."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from loaders.hf.cache import Line, SharedCache
from loaders.hf.cache_argument import cache_argument
from loaders.hf.cancellation import Asked, layers_of, stoppable
from modules.types import Decision

_KNOWN_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
_KNOWN_TYPES = {"full_attention", "sliding_attention"}


class OwnCache:
    """The library's own cache, for one line: models whose memory is not keys and values alone, and static caches."""

    def __init__(self, inner: Cache) -> None:
        self.inner = inner
        self.lines = [Line()]
        self.deltas: Any = None

    def grown(self, tokens: list[list[int]]) -> None:
        """What was computed is part of the line from now on."""
        self.lines[0].tokens.extend(tokens[0])

    def size(self) -> int:
        """Bytes of keys and values, as far as they show."""
        layers = [layer for layer in self.inner.layers if isinstance(getattr(layer, "keys", None), Tensor)]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)


AnyCache = SharedCache | OwnCache


def can_share(model: Any, static: bool) -> Decision[bool]:
    """Whether several replies can be computed in one call, and why."""
    if static:
        return Decision(False, "A static cache belongs to one reply.")
    text = model.config.get_text_config(decoder=True)
    types = set(getattr(text, "layer_types", None) or ())
    cache = DynamicCache(config=model.config)
    if _keeps_positions(model):
        return Decision(False, "This architecture keeps the positions of images in the model itself.")
    if types - _KNOWN_TYPES or not cache.layers or any(type(layer) not in _KNOWN_LAYERS for layer in cache.layers):
        return Decision(False, "This architecture keeps more than keys and values for each token.")
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return Decision(False, "This architecture does not take the positions of its tokens.")
    return Decision(True, "Keys and values of all replies stand in one buffer.")


def _keeps_positions(model: Any) -> bool:
    """Whether what images did to the positions is remembered by the model (Qwen-VL): then it is put back each time."""
    return hasattr(getattr(model, "model", None), "rope_deltas")


class Forward:
    """Calls the model. On the model's thread only.

    device   where token ids go in
    context  tokens a static cache is made for
    counts   its cache is the library's own, and positions are told with each call
    """

    def __init__(self, model: Any, device: torch.device, context: int, static: bool = False, compiled: bool = False):
        self.model = model
        self.device = device
        self.shared = can_share(model, static)
        self.calls = 0
        self.context = context
        self._static = static
        self._keeps_positions = _keeps_positions(model)
        self.counts = not static and not self._keeps_positions
        taken = inspect.signature(model.forward).parameters
        self._keeps = "logits_to_keep" in taken
        self._cache_argument = cache_argument(model)
        self._takes_positions = "position_ids" in taken and self.counts
        self._layers = len(DynamicCache(config=model.config).layers) if self.shared.value else 0
        self._stack = layers_of(model)
        self._step = torch.compile(model.forward, dynamic=not static) if compiled else model.forward

    def cache(self) -> AnyCache:
        """An empty cache with one empty line."""
        if self.shared.value:
            return SharedCache(self._layers)
        if self._static:
            return OwnCache(StaticCache(config=self.model.config, max_cache_len=self.context))
        return OwnCache(DynamicCache(config=self.model.config))

    def __call__(
        self, cache: AnyCache, tokens: list[list[int]], keep: int = 1, more: Mapping[str, Any] | None = None,
        cancelled: Asked | None = None,
    ) -> Tensor:  # fmt: skip
        """The logits after the last `keep` of `tokens`, of each line: [lines, keep, vocabulary].

        `cancelled` is asked before each layer, except for a single token. Raises Stopped.
        """
        self.calls += 1
        values: dict[str, Any] = {**(more or {})}
        ids = torch.tensor(tokens, device=self.device)
        if isinstance(cache, SharedCache):
            values[self._cache_argument] = cache
            if cache.padded:
                new = len(tokens[0])
                values["attention_mask"] = cache.mask(new).to(self.device)
                starts = torch.tensor([[len(line.tokens)] for line in cache.lines])
                values["position_ids"] = (starts + torch.arange(new)[None, :]).to(self.device)
        else:
            values[self._cache_argument] = cache.inner
            if self._keeps_positions:
                self.model.model.rope_deltas = cache.deltas
            elif self._takes_positions:  # a model whose first layer is no attention counts wrong by itself
                known = len(cache.lines[0].tokens)
                values["position_ids"] = torch.arange(known, known + ids.shape[1], device=self.device)[None]
        if self._keeps:
            values["logits_to_keep"] = keep
        call = self._step if ids.shape[1] == 1 else self.model
        watched = stoppable(self._stack, cancelled) if cancelled and ids.shape[1] > 1 else nullcontext()
        with torch.inference_mode(), watched:
            logits: Tensor = call(input_ids=ids, use_cache=True, **values).logits
        if isinstance(cache, OwnCache) and self._keeps_positions:
            cache.deltas = self.model.model.rope_deltas
        cache.grown(tokens)
        return logits[:, -keep:]

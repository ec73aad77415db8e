"""The argument of a model's forward() that takes its KV cache.

Transformers has renamed it twice: `past_key_values` became `cache` in 5.24, as did the `cache_params`
of Mamba. A wrong name is swallowed by **kwargs, and each token would see nothing before it: so the
argument is found by its type, and a model without one is refused.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from typing import Any

from transformers import DynamicCache
from transformers.generation.utils import ALL_CACHE_NAMES

from modules.errors import LoadFailed


def cache_argument(model: Any) -> str:
    """Name of the argument. Raises LoadFailed for a model that takes no `transformers.Cache`.

    By annotation first. Some models (RoBERTa's kind) still carry the annotation of the years before
    `Cache`: for those, the first name that the library's own generate() uses, where the library says
    that the model takes a DynamicCache.
    """
    taken = _parameters(model.forward)
    for name, parameter in taken.items():
        if _takes_dynamic_cache(parameter.annotation):
            return name
    supports = getattr(model, "_supports_default_dynamic_cache", None)
    if supports is not None and supports():
        for name in ALL_CACHE_NAMES:
            if name in taken and _is_legacy_tuple(taken[name].annotation):
                return str(name)
    raise LoadFailed(f"{type(model).__name__} does not take a KV cache that Transformers' own classes could be.",
                     hint="Look for a GGUF of this model.")  # fmt: skip


def _parameters(forward: Any) -> typing.Mapping[str, inspect.Parameter]:
    """The arguments with their types; annotations that are text stay text where a name in them cannot be looked up."""
    try:
        return inspect.signature(forward, eval_str=True).parameters
    except (NameError, TypeError, AttributeError, SyntaxError):
        return inspect.signature(forward).parameters


def _takes_dynamic_cache(annotation: Any) -> bool:
    """Whether a DynamicCache is an instance of this type, or of one in this union."""
    if isinstance(annotation, str):  # a model's own code with names that are only there for type checkers
        return re.search(r"\b(Dynamic)?Cache\b", annotation) is not None
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_takes_dynamic_cache(one) for one in typing.get_args(annotation))
    # `object` and Any take everything and say nothing.
    return inspect.isclass(annotation) and annotation is not object and issubclass(DynamicCache, annotation)


def _is_legacy_tuple(annotation: Any) -> bool:
    """Whether a type is the tuple of tensors that caches once were, or untold."""
    if annotation is inspect.Parameter.empty:
        return True
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_legacy_tuple(one) for one in typing.get_args(annotation) if one is not type(None))
    return typing.get_origin(annotation) in (tuple, list) or annotation in (tuple, list)

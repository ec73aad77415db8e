"""Our parameters as ExLlamaV2's settings. Its order is fixed; only the temperature may come first or last.

Every field is set: the library's own defaults are not neutral. Source: exllamav2, generator/sampler.py, and the order
in exllamav2_ext/ext_sampling.cpp, sample_basic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
from exllamav2.generator import ExLlamaV2Sampler

from modules.sampling.params import DEFAULT_SAMPLER_ORDER
from modules.types import Notice

_CUTS = ("top_k", "top_p", "top_a", "min_p", "tfs", "typical_p")
_FORBIDDEN = -100.0


def settings_for(
    values: Mapping[str, Any], tokenizer: Any, ends: tuple[int, ...], bound: bool
) -> tuple[Any, list[Notice]]:
    """The library's settings for `values` (PARAMS names, complete), and what has to be said of them.

    bound  whether a grammar decides where the reply ends; the end tokens have to be possible then
    """
    reach = int(values["repetition_penalty_range"])
    greedy = values["temperature"] <= 0 and not values["dynamic_temperature"]
    last = _temperature_last(values["sampler_priority"])
    settings = ExLlamaV2Sampler.Settings(
        temperature=1.0 if greedy or values["dynamic_temperature"] else values["temperature"],
        temperature_last=last,
        top_k=1 if greedy else int(values["top_k"]),
        top_p=values["top_p"],
        top_a=values["top_a"],
        min_p=values["min_p"],
        tfs=_off_at_one(values["tfs"]),
        typical=_off_at_one(values["typical_p"]),
        skew=0.0,
        smoothing_factor=values["smoothing_factor"],
        min_temp=0.0,
        max_temp=0.0,
        temp_exponent=values["dynatemp_exponent"],
        token_repetition_penalty=values["repetition_penalty"] if reach else 1.0,
        token_frequency_penalty=values["frequency_penalty"] if reach else 0.0,
        token_presence_penalty=values["presence_penalty"] if reach else 0.0,
        token_repetition_range=reach,
        token_repetition_decay=0,
        mirostat=str(values["mirostat_mode"]) != "0",
        mirostat_tau=values["mirostat_tau"],
        mirostat_eta=values["mirostat_eta"],
        xtc_probability=values["xtc_probability"],
        xtc_threshold=values["xtc_threshold"],
        dry_multiplier=values["dry_multiplier"] if reach else 0.0,
        dry_base=values["dry_base"],
        dry_allowed_length=int(values["dry_allowed_length"]),
        dry_range=max(0, reach),
        dry_sequence_breakers=set(_breakers(tokenizer, tuple(map(str, values["dry_sequence_breakers"])))),
    )
    if values["dynamic_temperature"]:
        settings.min_temp, settings.max_temp = sorted((values["dynatemp_low"], values["dynatemp_high"]))
    settings.token_bias = _bias(values, tokenizer, ends, bound)
    return settings, list(_said(values, bound))


def _said(values: Mapping[str, Any], bound: bool) -> Iterable[Notice]:
    order = [str(name) for name in values["sampler_priority"]]
    if order != list(DEFAULT_SAMPLER_ORDER) and [name for name in order if name in _CUTS] != [
        name for name in _CUTS if name in order
    ]:
        yield Notice("sampler_order", "ExLlamaV2 has its own order of samplers; only the temperature can be first or "
                     "last.", "sampler_priority")  # fmt: skip
    if str(values["mirostat_mode"]) == "1":
        yield Notice("sampler_changed", "ExLlamaV2 has only version 2 of Mirostat; it is used.", "mirostat_mode")
    if bound and values["ban_eos_token"]:
        yield Notice("sampler_ignored", "The grammar says where the reply ends, so its end is not banned.",
                     "ban_eos_token")  # fmt: skip


def _temperature_last(names: Iterable[str]) -> bool:
    """Whether the temperature comes behind what cuts candidates; a list without it puts it last, as usual."""
    order = [str(name) for name in names]
    if "temperature" not in order:
        return True
    return not any(name in _CUTS for name in order[order.index("temperature") + 1 :])


def _off_at_one(value: float) -> float:
    """Here 0 is off, not 1."""
    return 0.0 if value >= 1.0 else value


def _bias(values: Mapping[str, Any], tokenizer: Any, ends: tuple[int, ...], bound: bool) -> Any:
    """A bias for every token, None where there is none. As wide as the library pads its logits to."""
    wanted = {int(token): value for token, value in values["logit_bias"].items()}
    if values["ban_eos_token"] and not bound:
        wanted |= dict.fromkeys(ends, _FORBIDDEN)
    size = int(tokenizer.config.vocab_size)
    wanted = {token: value for token, value in wanted.items() if token < size}
    if not wanted:
        return None
    bias = torch.zeros((size + -size % 32,), dtype=torch.float)
    for token, value in wanted.items():
        bias[token] = float("-inf") if value <= _FORBIDDEN else float(value)
    return bias


@lru_cache(16)
def _breakers(tokenizer: Any, texts: tuple[str, ...]) -> frozenset[int]:
    """Every token that holds one of these texts, as llama.cpp reads breakers of a single token."""
    pieces = tokenizer.get_id_to_piece_list(True)
    return frozenset(token for token, piece in enumerate(pieces) if any(text in piece for text in texts if text))

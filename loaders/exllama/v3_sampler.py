"""Our parameters as ExLlamaV3's sampling steps, in the order asked for as far as its steps allow.

Its penalties, bias and bans work on logits and have to come first; what turns logits into probabilities follows.
Source: exllamav3, generator/sampler/custom.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import exllamav3 as exl3

from modules.sampling.params import DEFAULT_SAMPLER_ORDER
from modules.types import Notice

NAMES: Mapping[str, str] = {
    "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "xtc": "xtc", "temperature": "temperature",
}  # fmt: skip
_PENALTIES = frozenset({"repetition_penalty", "presence_penalty", "frequency_penalty", "penalties", "dry"})
_WHOLE = 10**8
_FORBIDDEN = -100.0


def sampler(values: Mapping[str, Any], tokenizer: Any, ends: tuple[int, ...]) -> tuple[Any, list[Notice]]:
    """The sampler for `values` (PARAMS names, complete), and what has to be said of it. `ends` end a reply."""
    notices = []
    if displaced(values["sampler_priority"]):
        notices.append(Notice("sampler_order", "ExLlamaV3 computes penalties before all other samplers.",
                              "sampler_priority"))  # fmt: skip
    steps = list(_penalties(values, tokenizer, ends))
    for name in order(values["sampler_priority"]):
        steps += _cut(name, values, tokenizer)
    if values["adaptive_target"] > 0:
        steps.append(exl3.SS_AdaptiveP(values["adaptive_target"], values["adaptive_decay"]))
    elif values["temperature"] <= 0:
        steps.append(exl3.SS_Argmax())
    else:
        steps.append(exl3.SS_Sample())
    return exl3.CustomSampler(steps), notices


def _penalties(values: Mapping[str, Any], tokenizer: Any, ends: tuple[int, ...]) -> Iterable[Any]:
    reach = int(values["repetition_penalty_range"])
    sustained = _WHOLE if reach < 0 else reach
    if values["repetition_penalty"] != 1.0 and sustained:
        yield exl3.SS_RepP(values["repetition_penalty"], sustained, 0)
    if (values["presence_penalty"] or values["frequency_penalty"]) and sustained:
        yield exl3.SS_PresFreqP(values["presence_penalty"], values["frequency_penalty"], sustained, 0)
    if values["dry_multiplier"] and sustained:
        breakers = tuple(str(text) for text in values["dry_sequence_breakers"] if text)
        ids = exl3.dry_sequence_breaker_tokens(tokenizer, breakers) if breakers else frozenset()
        yield exl3.SS_DRY(
            values["dry_multiplier"], values["dry_base"], int(values["dry_allowed_length"]), max(0, reach), ids
        )
    bias = {int(token): float("-inf") if value <= _FORBIDDEN else float(value)
            for token, value in values["logit_bias"].items()}  # fmt: skip
    if bias:
        yield exl3.SS_LogitBias(bias)
    if values["ban_eos_token"]:
        yield exl3.SS_BanTokens(list(ends))


def _cut(name: str, values: Mapping[str, Any], tokenizer: Any) -> list[Any]:
    """The step of that name; none where its value is neutral."""
    if name == "temperature" and values["temperature"] > 0:
        return [exl3.SS_Temperature(values["temperature"])]
    if name == "top_k" and values["top_k"]:
        return [exl3.SS_TopK(int(values["top_k"]))]
    if name == "top_p" and values["top_p"] < 1:
        return [exl3.SS_TopP(values["top_p"])]
    if name == "min_p" and values["min_p"]:
        return [exl3.SS_MinP(values["min_p"])]
    if name == "xtc" and values["xtc_probability"]:
        return [exl3.SS_XTC(values["xtc_probability"], values["xtc_threshold"], tokenizer=tokenizer)]
    return []


def order(names: Iterable[str]) -> list[str]:
    """The steps that can be ordered. One that is left out follows in the usual place: it has to act."""
    found: list[str] = []
    for name in (*names, *DEFAULT_SAMPLER_ORDER):
        known = NAMES.get(str(name))
        if known is not None and known not in found:
            found.append(known)
    return found


def displaced(names: Iterable[str]) -> bool:
    """Whether a penalty is wanted behind one of the other samplers."""
    cut = False
    for name in map(str, names):
        if name in _PENALTIES and cut:
            return True
        cut = cut or name in NAMES
    return False

"""In which order the samplers act.

What llama.cpp has too stands as modules/engine/llama_request puts it: as `sampler_priority` names it, then what the
list leaves out in the usual order, because a sampler that has a value has to act. Samplers that llama.cpp lacks act
where they are named; unnamed ones at the place they usually have, beside their like: a list made for llama.cpp says
nothing about them, and at its end a penalty would come too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from modules.sampling.params import DEFAULT_SAMPLER_ORDER

_NAMES: Mapping[str, str] = {
    "repetition_penalty": "penalties", "presence_penalty": "penalties", "frequency_penalty": "penalties",
    "typ_p": "typical_p", "typical": "typical_p", "dynamic_temperature": "temperature",
}  # fmt: skip
"""Names in sampler_priority that are not those of a step."""

_BESIDE: Mapping[str, tuple[str, bool]] = {
    "encoder_repetition_penalty": ("penalties", True), "no_repeat_ngram": ("penalties", True),
    "epsilon_cutoff": ("top_p", True), "eta_cutoff": ("top_p", True), "tfs": ("top_p", True), "top_a": ("top_p", True),
    "quadratic_sampling": ("temperature", False),
}  # fmt: skip
"""Step that llama.cpp lacks → the one it usually stands beside, and whether after it."""

STEPS = (
    "penalties", "encoder_repetition_penalty", "no_repeat_ngram", "dry", "top_n_sigma", "top_k", "typical_p", "top_p",
    "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p", "xtc", "quadratic_sampling", "temperature",
)  # fmt: skip
"""Every step, in the usual order. Mirostat and adaptive-p choose the token and are always last."""


def step_order(names: Iterable[str]) -> list[str]:
    """`sampler_priority` as a complete list of steps."""
    order: list[str] = []
    for name in (*names, *DEFAULT_SAMPLER_ORDER):
        step = _NAMES.get(name, name)
        if step in STEPS and step not in order:
            order.append(step)
    for step, (beside, after) in _BESIDE.items():
        if step not in order:
            at = order.index(beside) + after
            while after and at < len(order) and _BESIDE.get(order[at], ("", False))[0] == beside:
                at += 1  # after those of its like, which keeps their usual order
            order.insert(at, step)
    return order

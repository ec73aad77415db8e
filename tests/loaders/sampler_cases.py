"""For every sampling parameter a request it changes: what the conformance suite asks of a loader that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STORY = "Once upon a time there was a"
NUMBERS = "one two three four one two three four one two"
ENDS = "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True, slots=True)
class Case:
    """Two requests that differ in one parameter; a loader that honours it answers them differently.

    first, second  values by PARAMS name, on top of BASE
    more           further fields of the request
    """

    first: Mapping[str, Any]
    second: Mapping[str, Any]
    prompt: str = STORY
    more: Mapping[str, Any] = field(default_factory=dict)


BASE: Mapping[str, Any] = {"max_tokens": 16, "seed": 7}
GREEDY: Mapping[str, Any] = {"temperature": 0.0}
MOVING: Mapping[str, Any] = {"dynamic_temperature": True, "dynatemp_low": 0.05, "dynatemp_high": 3.0}
DRY: Mapping[str, Any] = {**GREEDY, "dry_multiplier": 5.0, "dry_allowed_length": 1, "dry_sequence_breakers": ["zzz"]}
MIRO: Mapping[str, Any] = {"mirostat_mode": "2", "mirostat_tau": 8.0}

CASES: Mapping[str, Case] = {
    "max_tokens": Case({}, {"max_tokens": 5}),
    "seed": Case({}, {"seed": 8}),
    "temperature": Case({}, GREEDY),
    "dynamic_temperature": Case({"dynatemp_low": 0.05, "dynatemp_high": 0.1}, {**MOVING, "dynatemp_high": 0.1}),
    "dynatemp_low": Case(MOVING, {**MOVING, "dynatemp_low": 2.5}),
    "dynatemp_high": Case(MOVING, {**MOVING, "dynatemp_high": 0.1}),
    "dynatemp_exponent": Case(MOVING, {**MOVING, "dynatemp_exponent": 5.0}),
    "smoothing_factor": Case({}, {"smoothing_factor": 5.0}),
    "smoothing_curve": Case({"smoothing_factor": 0.2}, {"smoothing_factor": 0.2, "smoothing_curve": 8.0}),
    "top_k": Case({}, {"top_k": 1}),
    "top_p": Case({}, {"top_p": 0.05}),
    "min_p": Case({}, {"min_p": 0.9}),
    "typical_p": Case({}, {"typical_p": 0.05}),
    "top_n_sigma": Case({}, {"top_n_sigma": 0.05}),
    "tfs": Case({}, {"tfs": 0.05}),
    "top_a": Case({}, {"top_a": 0.9}),
    "epsilon_cutoff": Case({"temperature": 1.3}, {"temperature": 1.3, "epsilon_cutoff": 9.0}),
    "eta_cutoff": Case({"temperature": 1.3}, {"temperature": 1.3, "eta_cutoff": 20.0}),
    "xtc_probability": Case({}, {"xtc_probability": 1.0, "xtc_threshold": 0.05}),
    "xtc_threshold": Case({"xtc_probability": 1.0, "xtc_threshold": 0.5},
                          {"xtc_probability": 1.0, "xtc_threshold": 0.02}),
    "repetition_penalty": Case(GREEDY, {**GREEDY, "repetition_penalty": 1.9}, NUMBERS),
    "repetition_penalty_range": Case({**GREEDY, "repetition_penalty": 1.9},
                                     {**GREEDY, "repetition_penalty": 1.9, "repetition_penalty_range": 1}, NUMBERS),
    "frequency_penalty": Case(GREEDY, {**GREEDY, "frequency_penalty": 2.0}, NUMBERS),
    "presence_penalty": Case({}, {"presence_penalty": 2.0}, NUMBERS),
    "encoder_repetition_penalty": Case({}, {"encoder_repetition_penalty": 1.5}),
    "no_repeat_ngram_size": Case(GREEDY, {**GREEDY, "no_repeat_ngram_size": 2}, NUMBERS),
    "dry_multiplier": Case(GREEDY, DRY, NUMBERS),
    "dry_base": Case({**DRY, "dry_multiplier": 0.01, "dry_base": 1.0},
                     {**DRY, "dry_multiplier": 0.01, "dry_base": 4.0}, NUMBERS),
    "dry_allowed_length": Case(DRY, {**DRY, "dry_allowed_length": 20}, NUMBERS),
    "dry_sequence_breakers": Case(DRY, {**DRY, "dry_sequence_breakers": [" two", "two"]}, NUMBERS),
    "mirostat_mode": Case({}, {**MIRO, "mirostat_tau": 0.5}),
    "mirostat_tau": Case(MIRO, {**MIRO, "mirostat_tau": 0.5}),
    "mirostat_eta": Case({**MIRO, "mirostat_tau": 3.0, "mirostat_eta": 0.01},
                         {**MIRO, "mirostat_tau": 3.0, "mirostat_eta": 1.0}),
    "adaptive_target": Case({}, {"adaptive_target": 0.5}),
    "adaptive_decay": Case({"adaptive_target": 0.3, "adaptive_decay": 0.99},
                           {"adaptive_target": 0.3, "adaptive_decay": 0.0}),
    "sampler_priority": Case({"temperature": 3.0, "top_p": 0.5, "sampler_priority": ["top_p", "temperature"]},
                             {"temperature": 3.0, "top_p": 0.5, "sampler_priority": ["temperature", "top_p"]}),
    "guidance_scale": Case(GREEDY, {**GREEDY, "guidance_scale": 2.5}, more={"negative_prompt": "Once upon a time"}),
    "ban_eos_token": Case({**GREEDY, "max_tokens": 60}, {**GREEDY, "max_tokens": 60, "ban_eos_token": True}, ENDS),
}  # fmt: skip
"""Every row of PARAMS but logit_bias, which needs the model's own token numbers."""

"""The samplers of one reply: llama.cpp's own, put together here so that order and neutral values are ours.

As llama.cpp itself does it (common/sampling.cpp): the bias first, then the samplers in their order, and last the one
that draws. Mirostat and adaptive-p draw themselves.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from loaders.llama_python.vocabulary import Vocabulary
from modules.sampling.params import BY_NAME, DEFAULT_SAMPLER_ORDER
from modules.types import Notice

NAMES: Mapping[str, str] = {
    "repetition_penalty": "penalties", "presence_penalty": "penalties", "frequency_penalty": "penalties",
    "penalties": "penalties", "dry": "dry", "top_n_sigma": "top_n_sigma", "top_k": "top_k", "typical_p": "typical_p",
    "typ_p": "typical_p", "typical": "typical_p", "top_p": "top_p", "min_p": "min_p", "xtc": "xtc",
    "temperature": "temperature", "dynamic_temperature": "temperature",
}  # fmt: skip
"""Names in sampler_priority → the samplers there are here."""
_CUTS = ("top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc_probability")
_MIROSTAT_TOKENS = 100  # what version 1 estimates its exponent from, as in the paper
_FORBIDDEN = -100.0

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Candidates:
    """Every token with its logit, in the form samplers work on; one object serves all steps of a reply."""

    def __init__(self, size: int) -> None:
        self._ids = np.arange(size, dtype=np.int32)
        self._data = np.zeros(size, _CANDIDATE)
        self._first = self._data.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        self.array = llama_cpp.llama_token_data_array()

    def fill(self, logits: npt.NDArray[np.float32]) -> None:
        """All tokens again, unsorted, with these logits."""
        self._data["id"] = self._ids
        self._data["logit"] = logits
        self._data["p"] = 0.0
        self.array.data = self._first
        self.array.size = len(self._data)
        self.array.selected = -1
        self.array.sorted = False


class Chain:
    """The samplers for `values` (PARAMS names, complete). `context` is what "the whole context" means to penalties."""

    def __init__(self, values: Mapping[str, Any], vocabulary: Vocabulary, seed: int, context: int) -> None:
        self._values = values
        self._vocabulary = vocabulary
        self._seed = seed & 0xFFFFFFFF
        asked = int(values["repetition_penalty_range"])
        self._range = context if asked < 0 else asked
        self._kept: list[Any] = []  # C arrays the samplers read while they are made
        self._pointer = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        self._candidates = Candidates(vocabulary.size)
        self.looks_back = False
        for sampler in self._samplers():
            llama_cpp.llama_sampler_chain_add(self._pointer, sampler)

    def choose(self, logits: npt.NDArray[np.float32]) -> int:
        """The next token."""
        self._candidates.fill(logits)
        array = self._candidates.array
        llama_cpp.llama_sampler_apply(self._pointer, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def accept(self, token: int) -> None:
        """A token stands now; penalties and adaptive samplers take note."""
        llama_cpp.llama_sampler_accept(self._pointer, token)

    def read(self, prompt: list[int]) -> None:
        """Let penalties see the prompt."""
        if self.looks_back:
            for token in prompt[-self._range :] if self._range else ():
                self.accept(token)

    def close(self) -> None:
        """Free the samplers."""
        if self._pointer is not None:
            llama_cpp.llama_sampler_free(self._pointer)
            self._pointer = None

    def _samplers(self) -> Iterable[Any]:
        values = self._values
        if bias := self._bias():
            array = (llama_cpp.llama_logit_bias * len(bias))(*bias.items())
            self._kept.append(array)
            yield llama_cpp.llama_sampler_init_logit_bias(self._vocabulary.size, len(bias), array)
        mirostat = int(str(values["mirostat_mode"]))
        for name in order(values["sampler_priority"]):
            if not mirostat or name in ("penalties", "dry", "temperature"):
                yield from self._one(name)
        if mirostat:
            tau, eta = float(values["mirostat_tau"]), float(values["mirostat_eta"])
            if mirostat == 1:
                yield llama_cpp.llama_sampler_init_mirostat(
                    self._vocabulary.size, self._seed, tau, eta, _MIROSTAT_TOKENS
                )
            else:
                yield llama_cpp.llama_sampler_init_mirostat_v2(self._seed, tau, eta)
        elif values["adaptive_target"] > 0:
            target, decay = float(values["adaptive_target"]), float(values["adaptive_decay"])
            yield llama_cpp.llama_sampler_init_adaptive_p(target, decay, self._seed)
        else:
            yield llama_cpp.llama_sampler_init_dist(self._seed)

    def _one(self, name: str) -> Iterable[Any]:
        """The sampler of that name; none where its value is neutral."""
        values = self._values
        if name == "penalties":
            numbers = (values["repetition_penalty"], values["frequency_penalty"], values["presence_penalty"])
            if numbers != (1.0, 0.0, 0.0) and self._range:
                self.looks_back = True
                yield llama_cpp.llama_sampler_init_penalties(self._vocabulary.size, self._range, *map(float, numbers))
        elif name == "dry":
            if values["dry_multiplier"] and self._range:
                self.looks_back = True
                yield self._dry()
        elif name == "xtc":
            if values["xtc_probability"]:
                often, likely = float(values["xtc_probability"]), float(values["xtc_threshold"])
                yield llama_cpp.llama_sampler_init_xtc(often, likely, 1, self._seed)
        elif name == "temperature":
            yield self._temperature()
        elif values[name] != BY_NAME[name].default:
            make = getattr(llama_cpp, "llama_sampler_init_typical" if name == "typical_p" else
                           f"llama_sampler_init_{name}")  # fmt: skip
            yield make(values[name]) if name in ("top_k", "top_n_sigma") else make(float(values[name]), 1)

    def _temperature(self) -> Any:
        values = self._values
        if not values["dynamic_temperature"]:
            return llama_cpp.llama_sampler_init_temp(float(values["temperature"]))
        low, high = sorted((float(values["dynatemp_low"]), float(values["dynatemp_high"])))
        middle, reach = (low + high) / 2, (high - low) / 2
        return llama_cpp.llama_sampler_init_temp_ext(middle, reach, float(values["dynatemp_exponent"]))

    def _dry(self) -> Any:
        values = self._values
        texts = [str(text).encode("utf-8") for text in values["dry_sequence_breakers"] if text]
        breakers = (ctypes.c_char_p * max(1, len(texts)))(*texts)
        self._kept.append(breakers)
        return llama_cpp.llama_sampler_init_dry(
            self._vocabulary.pointer, float(values["dry_multiplier"]), float(values["dry_base"]),
            int(values["dry_allowed_length"]), self._range, breakers, len(texts),
        )  # fmt: skip

    def _bias(self) -> dict[int, float]:
        """-100 forbids a token, as OpenAI's API means it; so is every end of a reply when those are to be ignored."""
        bias = {}
        for token, value in self._values["logit_bias"].items():
            if int(token) < self._vocabulary.size:
                bias[int(token)] = float("-inf") if value <= _FORBIDDEN else float(value)
        if self._values["ban_eos_token"]:
            bias |= dict.fromkeys(self._vocabulary.ends, float("-inf"))
        return bias


def order(names: Iterable[str]) -> list[str]:
    """The samplers in the order asked for. One that is left out follows in the usual place: it has to act."""
    found: list[str] = []
    for name in (*names, *DEFAULT_SAMPLER_ORDER):
        known = NAMES.get(str(name))
        if known is not None and known not in found:
            found.append(known)
    return found


def unused(values: Mapping[str, Any]) -> Notice | None:
    """What mirostat puts out of action, said."""
    cuts = [name for name in _CUTS if values[name] != BY_NAME[name].default]
    if str(values["mirostat_mode"]) == "0" or not cuts:
        return None
    return Notice("sampler_ignored", f"Mirostat chooses among all tokens, so this has no effect: {', '.join(cuts)}.",
                  "mirostat_mode")  # fmt: skip

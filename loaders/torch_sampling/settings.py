"""One request's sampler values, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modules.sampling.params import BY_NAME
from modules.types import ParamValue


@dataclass(frozen=True, slots=True)
class Settings:
    """The values by PARAMS name, complete: what a request leaves out is neutral. They have been checked before."""

    values: Mapping[str, ParamValue]

    @classmethod
    def of(cls, params: Mapping[str, ParamValue]) -> Settings:
        return cls({name: param.default for name, param in BY_NAME.items()} | dict(params))

    def number(self, name: str) -> float:
        value = self.values[name]
        return float(value) if isinstance(value, (int, float)) else 0.0

    def integer(self, name: str) -> int:
        return int(self.number(name))

    def flag(self, name: str) -> bool:
        return self.values[name] is True

    def words(self, name: str) -> list[str]:
        value = self.values[name]
        return [str(item) for item in value] if isinstance(value, list) else []

    @property
    def mirostat(self) -> int:
        """0 = off, 1 or 2 = version."""
        return int(str(self.values["mirostat_mode"]))

    @property
    def temperatures(self) -> tuple[float, float]:
        """Lowest and highest temperature; the same twice unless it is dynamic, which replaces the fixed one."""
        if not self.flag("dynamic_temperature"):
            return (self.number("temperature"),) * 2
        low, high = sorted((self.number("dynatemp_low"), self.number("dynatemp_high")))
        return low, high

    @property
    def bias(self) -> Mapping[int, float]:
        """Token id → what is added to its logit; -100 and less forbid the token, as OpenAI's API means it."""
        value = self.values["logit_bias"]
        pairs = value.items() if isinstance(value, dict) else ()
        return {int(token): float("-inf") if bias <= -100 else float(bias) for token, bias in pairs}

    def acts(self, step: str) -> bool:
        """Whether a step of the chain (order.STEPS) has a value that changes anything."""
        number = self.number
        match step:
            case "penalties":
                changed = number("repetition_penalty") != 1 or number("frequency_penalty") or number("presence_penalty")
                return bool(changed) and self.integer("repetition_penalty_range") != 0
            case "encoder_repetition_penalty":
                return number(step) != 1
            case "no_repeat_ngram":
                return self.integer("no_repeat_ngram_size") > 0
            case "dry":
                strong = number("dry_multiplier") != 0 and number("dry_base") >= 1
                return strong and self.integer("repetition_penalty_range") != 0
            case "top_p" | "typical_p" | "tfs":
                return number(step) < 1
            case "xtc":
                return number("xtc_probability") > 0 and number("xtc_threshold") <= 0.5
            case "quadratic_sampling":
                return number("smoothing_factor") > 0
            case "temperature":
                return self.temperatures != (1.0, 1.0)
        return number(step) > 0

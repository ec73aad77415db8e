"""PARAMS: every sampling parameter, once.

Widgets, preset checks, the API's fields, docs and what each loader honours are derived from this
table. Adding a sampler is adding one row: `engines` says what each engine dialect calls it; a
dialect that is not named does not offer it, and a request that uses it is told so.

Names and meanings follow what people already have in their presets (text-generation-webui's names);
sources of the methods stand in `help` or beside the row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modules.errors import BadParameter
from modules.types import ParamValue

Kind = Literal["float", "int", "bool", "text", "choice", "list", "map"]
LLAMA = "llama-server"
ECHO = "echo"


@dataclass(frozen=True, slots=True)
class Param:
    """One sampling parameter.

    default   the neutral value: sending it changes nothing; presets leave it out
    start     the value a fresh installation uses, when it is not the neutral one
    group     heading it stands under in the Parameters tab
    engines   engine dialect → the name that engine's interface uses
    aliases   other names accepted in presets and API requests
    """

    name: str
    kind: Kind
    default: ParamValue
    group: str
    label: str
    help: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    engines: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    start: ParamValue | None = None
    hard_low: float | None = None
    hard_high: float | None = None

    def check(self, value: Any) -> ParamValue:
        """`value` as this parameter's type. Raises BadParameter naming the allowed range."""
        checked = _CHECKS[self.kind](self, value)
        low = self.low if self.hard_low is None else self.hard_low
        if isinstance(checked, (int, float)) and not isinstance(checked, bool):
            high = self.hard_high
            if checked != checked or (low is not None and checked < low) or (high is not None and checked > high):
                raise _bad(self, value, f"a number {_span(low, high)}")
        return checked


def _span(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}"
    if low is not None:
        return f"of at least {low:g}"
    return f"of at most {high:g}" if high is not None else "that is finite"


def _bad(param: Param, value: Any, wanted: str) -> BadParameter:
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return BadParameter(
        f"{param.name} is {shown}, but it has to be {wanted}.",
        hint=f"Neutral is {param.default!r}.",
        param=param.name,
    )


def _as_float(param: Param, value: Any) -> ParamValue:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) == float("inf"):
        raise _bad(param, value, "a number")
    return float(value)


def _as_int(param: Param, value: Any) -> ParamValue:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value % 1:
        raise _bad(param, value, "a whole number")
    return int(value)


def _as_bool(param: Param, value: Any) -> ParamValue:
    if not isinstance(value, bool):
        raise _bad(param, value, "true or false")
    return value


def _as_text(param: Param, value: Any) -> ParamValue:
    if not isinstance(value, str):
        raise _bad(param, value, "text")
    return value


def _as_choice(param: Param, value: Any) -> ParamValue:
    if value not in param.choices:
        raise _bad(param, value, "one of " + ", ".join(param.choices))
    return str(value)


def _as_list(param: Param, value: Any) -> ParamValue:
    """A list of strings; presets write it as lines, or as quoted items with commas."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith('"'):
            try:
                value = json.loads(f"[{text}]")
            except ValueError:
                raise _bad(param, value, 'quoted strings with commas between, such as "\\n", ":"') from None
        else:
            value = [line for line in text.replace(",", "\n").splitlines() if line.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise _bad(param, value, "a list of strings")
    return [str(item) for item in value]


def _as_map(param: Param, value: Any) -> ParamValue:
    if not isinstance(value, dict):
        raise _bad(param, value, "an object of token id to bias")
    out: dict[str, Any] = {}
    for key, bias in value.items():
        numeric = isinstance(bias, (int, float)) and not isinstance(bias, bool)
        if not str(key).isdigit() or not numeric or not -100 <= bias <= 100:
            raise _bad(param, value, "an object of token id to a bias from -100 to 100")
        out[str(key)] = float(bias)
    return out


_CHECKS = {
    "float": _as_float,
    "int": _as_int,
    "bool": _as_bool,
    "text": _as_text,
    "choice": _as_choice,
    "list": _as_list,
    "map": _as_map,
}


def _f(name: str, label: str, group: str, default: float, low: float, high: float, help: str, **more: Any) -> Param:
    more.setdefault("step", 0.01)
    return Param(name, "float", default, group, label, help, low, high, **more)


def _i(name: str, label: str, group: str, default: int, low: int, high: int, help: str, **more: Any) -> Param:
    more.setdefault("step", 1)
    return Param(name, "int", default, group, label, help, low, high, **more)


def _b(name: str, label: str, group: str, help: str, **more: Any) -> Param:
    return Param(name, "bool", False, group, label, help, **more)


def _both(name: str) -> dict[str, str]:
    return {LLAMA: name, ECHO: name}


LENGTH, SHAPE, CUT, REPEAT, MIRO, ORDER, TOKENS = (
    "Length and seed", "Temperature", "Candidates", "Repetition", "Mirostat and adaptive", "Order", "Tokens",
)  # fmt: skip

DEFAULT_SAMPLER_ORDER = (
    "repetition_penalty", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature",
)  # fmt: skip
DEFAULT_BREAKERS = ["\n", ":", '"', "*"]

PARAMS: tuple[Param, ...] = (
    _i("max_tokens", "Maximum reply length", LENGTH, 0, 0, 8192,
       "Tokens after which a reply is cut. 0 = until the model ends it or the context is full.",
       engines=_both("n_predict"), aliases=("max_new_tokens", "max_completion_tokens", "n_predict", "max_length")),
    _i("seed", "Seed", LENGTH, -1, -1, 2**31 - 1, "The same seed gives the same reply to the same prompt. -1 = random.",
       engines=_both("seed"), hard_high=2**32 - 1),
    _f("temperature", "Temperature", SHAPE, 1.0, 0.0, 5.0,
       "Below 1 the likely tokens gain, above 1 the unlikely ones. 0 = always the likeliest.",
       engines={LLAMA: "temperature"}, start=0.7, aliases=("temp",), hard_high=100),
    _b("dynamic_temperature", "Dynamic temperature", SHAPE,
       "The temperature moves between low and high with the entropy of the candidates.",
       engines={LLAMA: "dynatemp_range"}),
    _f("dynatemp_low", "Dynamic temperature: low", SHAPE, 1.0, 0.0, 5.0, "Temperature where the model is sure.",
       engines={LLAMA: "dynatemp_range"}),
    _f("dynatemp_high", "Dynamic temperature: high", SHAPE, 1.0, 0.0, 5.0, "Temperature where the model is unsure.",
       engines={LLAMA: "dynatemp_range"}),
    _f("dynatemp_exponent", "Dynamic temperature: exponent", SHAPE, 1.0, 0.01, 5.0, "How the entropy maps to it.",
       engines={LLAMA: "dynatemp_exponent"}),
    _i("top_k", "Top-k", CUT, 0, 0, 200, "Keeps the k likeliest tokens. 0 = off.", engines={LLAMA: "top_k"}, start=40),
    _f("top_p", "Top-p", CUT, 1.0, 0.0, 1.0,
       "Keeps the likeliest tokens up to this summed probability. 1 = off. (Holtzman et al. 2019)",
       engines={LLAMA: "top_p"}, start=0.95, hard_high=1),
    _f("min_p", "Min-p", CUT, 0.0, 0.0, 1.0,
       "Drops tokens less likely than this share of the likeliest. 0 = off. (Nguyen et al. 2024)",
       engines={LLAMA: "min_p"}, start=0.05, hard_high=1),
    _f("typical_p", "Typical-p", CUT, 1.0, 0.0, 1.0,
       "Keeps tokens whose information is near the expected one. 1 = off. (Meister et al. 2022)",
       engines={LLAMA: "typical_p"}, aliases=("typical",), hard_high=1),
    _f("top_n_sigma", "Top-n-sigma", CUT, 0.0, 0.0, 5.0,
       "Keeps logits within n standard deviations of the largest. 0 = off. (Tang et al. 2024)",
       engines={LLAMA: "top_n_sigma"}),
    _f("xtc_probability", "XTC probability", CUT, 0.0, 0.0, 1.0,
       "How often the likeliest choices are left out, for less expected text. 0 = off.",
       engines={LLAMA: "xtc_probability"}, hard_high=1),
    _f("xtc_threshold", "XTC threshold", CUT, 0.1, 0.0, 0.5,
       "Only tokens at least this likely can be left out by XTC.", engines={LLAMA: "xtc_threshold"}, hard_high=1),
    _f("repetition_penalty", "Repetition penalty", REPEAT, 1.0, 0.5, 2.0,
       "Divides the logits of tokens already used. 1 = off. (Keskar et al. 2019)",
       engines={LLAMA: "repeat_penalty"}, aliases=("repeat_penalty", "rep_pen"), hard_low=0.01),
    _i("repetition_penalty_range", "Penalty range", REPEAT, 1024, -1, 8192,
       "How many of the last tokens the penalties look at. 0 = none, -1 = the whole context.",
       engines={LLAMA: "repeat_last_n"}, aliases=("repeat_last_n", "rep_pen_range"), step=64),
    _f("frequency_penalty", "Frequency penalty", REPEAT, 0.0, -2.0, 2.0,
       "Lowers a token's logit by this much for every time it was used.",
       engines={LLAMA: "frequency_penalty"}, step=0.05, hard_high=2),
    _f("presence_penalty", "Presence penalty", REPEAT, 0.0, -2.0, 2.0,
       "Lowers a token's logit by this much once it was used.",
       engines={LLAMA: "presence_penalty"}, step=0.05, hard_high=2),
    _f("dry_multiplier", "DRY strength", REPEAT, 0.0, 0.0, 5.0,
       "Penalises continuing a sequence that already occurred. 0 = off.", engines={LLAMA: "dry_multiplier"}),
    _f("dry_base", "DRY base", REPEAT, 1.75, 1.0, 4.0, "How fast the DRY penalty grows with the sequence's length.",
       engines={LLAMA: "dry_base"}),
    _i("dry_allowed_length", "DRY allowed length", REPEAT, 2, 1, 20, "Sequences up to this length are free.",
       engines={LLAMA: "dry_allowed_length"}),
    Param("dry_sequence_breakers", "list", DEFAULT_BREAKERS, REPEAT, "DRY sequence breakers",
          "Strings across which DRY does not look, as quoted items with commas between.",
          engines={LLAMA: "dry_sequence_breakers"}),
    Param("mirostat_mode", "choice", "0", MIRO, "Mirostat",
          "Holds the surprise of the text at a target. 0 = off, 1 or 2 = version. (Basu et al. 2020)",
          choices=("0", "1", "2"), engines={LLAMA: "mirostat"}, aliases=("mirostat",)),
    _f("mirostat_tau", "Mirostat target", MIRO, 5.0, 0.0, 10.0, "Target surprise in bits.",
       engines={LLAMA: "mirostat_tau"}),
    _f("mirostat_eta", "Mirostat rate", MIRO, 0.1, 0.0, 1.0, "How fast it follows.", engines={LLAMA: "mirostat_eta"}),
    _f("adaptive_target", "Adaptive-p target", MIRO, 0.0, 0.0, 1.0,
       "Steers the chosen tokens towards this probability. 0 = off.", engines={LLAMA: "adaptive_target"}),
    _f("adaptive_decay", "Adaptive-p memory", MIRO, 0.9, 0.0, 0.99, "How far back it looks.",
       engines={LLAMA: "adaptive_decay"}),
    Param("sampler_priority", "list", list(DEFAULT_SAMPLER_ORDER), ORDER, "Order of the samplers",
          "One name a line, first applied first.", engines={LLAMA: "samplers"}, aliases=("samplers",)),
    _b("ban_eos_token", "Ignore the end token", TOKENS, "The model cannot end its reply by itself.",
       engines={LLAMA: "ignore_eos"}, aliases=("ignore_eos",)),
    Param("logit_bias", "map", {}, TOKENS, "Token bias",
          'Token ids and what to add to their logits, as JSON: {"1234": -100} forbids a token.',
          engines={LLAMA: "logit_bias"}),
)  # fmt: skip

BY_NAME: Mapping[str, Param] = {param.name: param for param in PARAMS}
CANONICAL: Mapping[str, str] = {
    **{alias: param.name for param in PARAMS for alias in param.aliases},
    **{param.name: param.name for param in PARAMS},
}


def dialect(engine: str) -> Mapping[str, str]:
    """Our name → the engine's name, for every parameter this engine dialect offers."""
    return {param.name: param.engines[engine] for param in PARAMS if engine in param.engines}


def check_values(values: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Validate a set of values by name or alias.

    Raises BadParameter for an unknown name or a wrong value; the error's `param` names it.
    """
    out: dict[str, ParamValue] = {}
    for name, value in values.items():
        if name not in CANONICAL:
            raise BadParameter(f"There is no parameter called {name!r}.", param=name,
                               hint="See the Parameters tab or docs/parameters.md for the names.")  # fmt: skip
        param = BY_NAME[CANONICAL[name]]
        out[param.name] = param.check(value)
    return out


def without_neutral(values: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """Only what differs from neutral: what a preset file holds and what an engine has to be told."""
    return {name: value for name, value in values.items() if value != BY_NAME[name].default}


def starting_values() -> dict[str, ParamValue]:
    """What a fresh installation uses."""
    return {param.name: param.default if param.start is None else param.start for param in PARAMS}


def ignored(values: Mapping[str, ParamValue], honoured: Iterable[str]) -> tuple[str, ...]:
    """Names whose non-neutral value this engine would not honour, in table order."""
    known = frozenset(honoured)
    return tuple(param.name for param in PARAMS if param.name in without_neutral(values) and param.name not in known)

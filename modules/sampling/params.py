"""PARAMS: every sampling parameter, once.

Widgets, preset checks, the API's fields, docs and what each loader honours are derived from this
table. Adding a sampler is adding one row: `engines` says what each engine dialect calls it; a
dialect that is not named does not offer it, and a request that uses it is told so.

Names and meanings follow what people already have in their presets (text-generation-webui's names);
sources of the methods stand in `help` or beside the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modules.errors import BadParameter, shown_value
from modules.sampling.param import Kind, Param, as_flag
from modules.types import Notice, ParamValue

__all__ = [
    "BY_NAME", "CANONICAL", "DEFAULT_BREAKERS", "DEFAULT_SAMPLER_ORDER", "ECHO", "EXL2", "EXL3", "LLAMA",
    "LLAMA_PYTHON", "OPENAI", "PARAMS", "SAMPLER_NAMES", "SGLANG", "SWITCHES", "TORCH", "TRTLLM", "VLLM", "Kind",
    "Param", "check_values", "dialect", "ignored", "read_values", "starting_values", "without_neutral",
]  # fmt: skip

LLAMA = "llama-server"
ECHO = "echo"
TORCH = "torch"
"""Our own chain of samplers (loaders/torch_sampling), for engines that hand over their logits: our names throughout."""
LLAMA_PYTHON = "llama-cpp-python"
EXL2, EXL3 = "exllamav2", "exllamav3"
OPENAI, VLLM, SGLANG, TRTLLM = "openai", "vllm", "sglang", "tensorrt-llm"


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


def _served(name: str, wire: str = "", openai: bool = True) -> dict[str, str]:
    """The names at servers that speak OpenAI's protocol; `openai` = also where only its own parameters are known."""
    return dict.fromkeys((VLLM, SGLANG, TRTLLM, *((OPENAI,) if openai else ())), wire or name)


_EXL3 = frozenset({
    "max_tokens", "seed", "temperature", "top_k", "top_p", "min_p", "xtc_probability", "xtc_threshold",
    "repetition_penalty", "repetition_penalty_range", "frequency_penalty", "presence_penalty", "dry_multiplier",
    "dry_base", "dry_allowed_length", "dry_sequence_breakers", "adaptive_target", "adaptive_decay", "sampler_priority",
    "ban_eos_token", "logit_bias",
})  # fmt: skip
_EXL2 = _EXL3 - {"adaptive_target", "adaptive_decay"} | {
    "typical_p", "tfs", "top_a", "smoothing_factor", "dynamic_temperature", "dynatemp_low", "dynatemp_high",
    "dynatemp_exponent", "mirostat_mode", "mirostat_tau", "mirostat_eta",
}  # fmt: skip
"""What the ExLlama loaders translate into the libraries' own steps and settings; our names throughout."""


LENGTH, SHAPE, CUT, REPEAT, MIRO, ORDER, TOKENS = (
    "Length and seed", "Temperature", "Truncation samplers", "Repetition", "Mirostat and adaptive", "Sampler order",
    "Tokens",
)  # fmt: skip

DEFAULT_SAMPLER_ORDER = (
    "repetition_penalty", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature",
)  # fmt: skip
# The order list may name what its loader does not have (a preset from another program): that is left out there.
SAMPLER_NAMES = (
    *DEFAULT_SAMPLER_ORDER, "presence_penalty", "frequency_penalty", "dynamic_temperature", "quadratic_sampling",
    "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "adaptive_p", "mirostat", "encoder_repetition_penalty",
    "no_repeat_ngram", "penalties", "typ_p", "typical",
)  # fmt: skip
DEFAULT_BREAKERS = ["\n", ":", '"', "*"]

PARAMS: tuple[Param, ...] = (
    _i("max_tokens", "Max response tokens", LENGTH, 0, 0, 8192,
       "Most tokens in a reply (max_tokens). 0 = unlimited: until the model stops or the context is full.",
       engines={**_both("n_predict"), **_served("max_tokens")}, in_presets=False,
       aliases=("max_new_tokens", "max_completion_tokens", "n_predict", "max_length", "genamt", "num_predict"),
       off=(-1, -2)),
    _i("seed", "Seed", LENGTH, -1, -1, 2**31 - 1,
       "The same seed and prompt give the same reply. -1 = random.",
       engines={**_both("seed"), **_served("seed")}, hard_high=2**32 - 2, in_presets=False,
       aliases=("random_seed", "sampler_seed")),
    _f("temperature", "Temperature", SHAPE, 1.0, 0.0, 5.0,
       "Higher = more random. 0 = greedy.",
       engines={LLAMA: "temperature", **_served("temperature")}, start=0.7, aliases=("temp",), hard_high=100),
    _b("dynamic_temperature", "Dynamic temperature", SHAPE,
       "The temperature moves between low and high with the entropy of the candidates.",
       engines={LLAMA: "dynatemp_range"}, aliases=("dynatemp",)),
    _f("dynatemp_low", "Dynamic temperature: low", SHAPE, 1.0, 0.0, 5.0, "Temperature where the model is sure.",
       engines={LLAMA: "dynatemp_range"}, aliases=("min_temp",)),
    _f("dynatemp_high", "Dynamic temperature: high", SHAPE, 1.0, 0.0, 5.0, "Temperature where the model is unsure.",
       engines={LLAMA: "dynatemp_range"}, aliases=("max_temp",)),
    _f("dynatemp_exponent", "Dynamic temperature: exponent", SHAPE, 1.0, 0.01, 5.0, "How the entropy maps to it.",
       engines={LLAMA: "dynatemp_exponent"}, aliases=("temp_exponent",)),
    _f("smoothing_factor", "Smoothing factor", SHAPE, 0.0, 0.0, 10.0,
       "Quadratic sampling: lowers unlikely tokens by a curve round the likeliest. 0 = off."),
    _f("smoothing_curve", "Smoothing curve", SHAPE, 1.0, 1.0, 10.0, "How steep the smoothing curve is. 1 = quadratic."),
    _i("top_k", "Top-k", CUT, 0, 0, 200, "Sample only from the k most likely tokens. 0 = off.",
       engines={LLAMA: "top_k", **_served("top_k", openai=False)}, start=40, off=(-1,)),
    _f("top_p", "Top-p", CUT, 1.0, 0.0, 1.0,
       "Sample only from the most likely tokens within this cumulative probability. 1 = off. (Holtzman et al. 2019)",
       engines={LLAMA: "top_p", **_served("top_p")}, start=0.95, hard_high=1),
    _f("min_p", "Min-p", CUT, 0.0, 0.0, 1.0,
       "Drop tokens less likely than this share of the most likely one. 0 = off. (Nguyen et al. 2024)",
       engines={LLAMA: "min_p", **_served("min_p", openai=False)}, start=0.05, hard_high=1),
    _f("typical_p", "Typical-p", CUT, 1.0, 0.0, 1.0,
       "Keeps tokens whose information is near the expected one. 1 = off. (Meister et al. 2022)",
       engines={LLAMA: "typical_p"}, aliases=("typical", "typ_p"), hard_high=1),
    _f("top_n_sigma", "Top-n-sigma", CUT, 0.0, 0.0, 5.0,
       "Keeps logits within n standard deviations of the largest. 0 = off. (Tang et al. 2024)",
       engines={LLAMA: "top_n_sigma"}, aliases=("nsigma",), off=(-1,)),
    _f("tfs", "Tail-free sampling", CUT, 1.0, 0.0, 1.0,
       "Cuts the tail where the curve of probabilities flattens. 1 = off. (Phénix and Egan 2019)", hard_high=1,
       aliases=("tfs_z",)),
    _f("top_a", "Top-a", CUT, 0.0, 0.0, 1.0,
       "Drops tokens below this share of the likeliest one's probability squared. 0 = off.", hard_high=1),
    _f("epsilon_cutoff", "Epsilon cutoff", CUT, 0.0, 0.0, 9.0,
       "Drops tokens less likely than this, in units of 1/10,000. 0 = off. (Hewitt et al. 2022)"),
    _f("eta_cutoff", "Eta cutoff", CUT, 0.0, 0.0, 20.0,
       "The same with a floor that follows the entropy, in units of 1/10,000. 0 = off. (Hewitt et al. 2022)"),
    _f("xtc_probability", "XTC probability", CUT, 0.0, 0.0, 1.0,
       "How often the most likely tokens are left out, for less predictable text. 0 = off.",
       engines={LLAMA: "xtc_probability"}, hard_high=1),
    _f("xtc_threshold", "XTC threshold", CUT, 0.1, 0.0, 0.5,
       "Only tokens at least this likely can be left out by XTC.", engines={LLAMA: "xtc_threshold"}, hard_high=1),
    _f("repetition_penalty", "Repetition penalty", REPEAT, 1.0, 0.5, 2.0,
       "Divides the logits of tokens already used. 1 = off. (Keskar et al. 2019)",
       engines={LLAMA: "repeat_penalty", **_served("repetition_penalty", openai=False)},
       aliases=("repeat_penalty", "rep_pen"), hard_low=0.01, off=(0,)),
    _i("repetition_penalty_range", "Penalty range", REPEAT, 1024, -1, 8192,
       "How many of the last tokens the penalties look at. 0 = none, -1 = the whole context.",
       engines={LLAMA: "repeat_last_n"}, step=64,
       aliases=("repeat_last_n", "rep_pen_range", "penalty_range", "repetition_range")),
    _f("frequency_penalty", "Frequency penalty", REPEAT, 0.0, -2.0, 2.0,
       "Lowers a token's logit by this much for every time it was used.",
       engines={LLAMA: "frequency_penalty", **_served("frequency_penalty")}, step=0.05, hard_high=2,
       aliases=("freq_pen",)),
    _f("presence_penalty", "Presence penalty", REPEAT, 0.0, -2.0, 2.0,
       "Lowers a token's logit by this much once it was used.",
       engines={LLAMA: "presence_penalty", **_served("presence_penalty")}, step=0.05, hard_high=2,
       aliases=("presence_pen",)),
    _f("encoder_repetition_penalty", "Prompt repetition penalty", REPEAT, 1.0, 0.8, 1.5,
       "Above 1 keeps the reply near the words of the prompt. 1 = off.", hard_low=0.01, off=(0,),
       aliases=("encoder_rep_pen",)),
    _i("no_repeat_ngram_size", "No-repeat n-gram size", REPEAT, 0, 0, 20,
       "Forbids a sequence of this many tokens to occur twice. 0 = off."),
    _f("dry_multiplier", "DRY multiplier", REPEAT, 0.0, 0.0, 5.0,
       "Penalizes continuing a sequence that already occurred. 0 = off.", engines={LLAMA: "dry_multiplier"}),
    _f("dry_base", "DRY base", REPEAT, 1.75, 1.0, 4.0, "How fast the DRY penalty grows with the sequence's length.",
       engines={LLAMA: "dry_base"}),
    _i("dry_allowed_length", "DRY allowed length", REPEAT, 2, 1, 20, "Sequences up to this length are free.",
       engines={LLAMA: "dry_allowed_length"}),
    Param("dry_sequence_breakers", "list", DEFAULT_BREAKERS, REPEAT, "DRY sequence breakers",
          "Strings across which DRY does not look, as quoted items with commas between.",
          engines={LLAMA: "dry_sequence_breakers"}),
    Param("mirostat_mode", "choice", "0", MIRO, "Mirostat",
          "Holds the surprise of the text at a target, in place of the samplers that cut. 0 = off, 1 or 2 = version. "
          "(Basu et al. 2020)",
          choices=("0", "1", "2"), engines={LLAMA: "mirostat"}, aliases=("mirostat",)),
    _f("mirostat_tau", "Mirostat tau", MIRO, 5.0, 0.0, 10.0, "Target surprise (perplexity) in bits.",
       engines={LLAMA: "mirostat_tau"}),
    _f("mirostat_eta", "Mirostat eta", MIRO, 0.1, 0.0, 1.0, "Learning rate: how fast it follows the target.",
       engines={LLAMA: "mirostat_eta"}),
    _f("adaptive_target", "Adaptive-p target", MIRO, 0.0, 0.0, 1.0,
       "Steers the chosen tokens towards this probability. 0 = off.", engines={LLAMA: "adaptive_target"}, off=(-1,)),
    _f("adaptive_decay", "Adaptive-p decay", MIRO, 0.9, 0.0, 0.99, "How far back it looks.",
       engines={LLAMA: "adaptive_decay"}),
    Param("sampler_priority", "list", list(DEFAULT_SAMPLER_ORDER), ORDER, "Sampler order",
          "One name a line, first applied first. The names: " + ", ".join(DEFAULT_SAMPLER_ORDER) + ".",
          items=SAMPLER_NAMES, engines={LLAMA: "samplers"}, aliases=("samplers",),
          item_aliases={"tfs_z": "tfs", "top_nsigma": "top_n_sigma"}),
    _f("guidance_scale", "Guidance scale", TOKENS, 1.0, -0.5, 2.5,
       "Classifier-free guidance: above 1 moves away from the negative prompt. 1 = off. (Sanchez et al. 2023)",
       step=0.05, hard_low=-100, aliases=("cfg_scale",)),
    _b("ban_eos_token", "Ban EOS token", TOKENS, "The model can't end its reply by itself.",
       engines={LLAMA: "ignore_eos", **_served("ban_eos_token", "ignore_eos", openai=False)},
       aliases=("ignore_eos", "ignore_eos_token"), in_presets=False),
    Param("logit_bias", "map", {}, TOKENS, "Logit bias",
          'Token ids and what to add to their logits, as JSON: {"1234": -100} forbids a token.',
          engines={LLAMA: "logit_bias", **_served("logit_bias")}, in_presets=False),
)  # fmt: skip

BY_NAME: Mapping[str, Param] = {param.name: param for param in PARAMS}
CANONICAL: Mapping[str, str] = {
    **{alias: param.name for param in PARAMS for alias in param.aliases},
    **{param.name: param.name for param in PARAMS},
    "do_sample": "temperature",
    "temperature_last": "sampler_priority",
}
"""Every name `check_values` takes → the parameter it is about."""


def dialect(engine: str) -> Mapping[str, str]:
    """Our name → the engine's name, for every parameter this engine dialect offers."""
    if engine == TORCH:
        return {param.name: param.name for param in PARAMS}
    if engine == LLAMA_PYTHON:  # llama.cpp's samplers, put together by us
        return {param.name: param.name for param in PARAMS if LLAMA in param.engines}
    if engine in (EXL2, EXL3):
        known = _EXL2 if engine == EXL2 else _EXL3
        return {param.name: param.name for param in PARAMS if param.name in known}
    return {param.name: param.engines[engine] for param in PARAMS if engine in param.engines}


def check_values(values: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Validate a set of values by name or alias; where both are there, the name counts.

    Raises BadParameter for an unknown name or a wrong value; the error's `param` names it.
    """
    return read_values(values)[0]


def read_values(values: Mapping[str, Any]) -> tuple[dict[str, ParamValue], tuple[Notice, ...]]:
    """The same, with a Notice for a value that reads otherwise than it looks, and for two names with two values."""
    out: dict[str, ParamValue] = {}
    notices: list[Notice] = []
    came_as: dict[str, str] = {}
    for name, value in values.items():
        if name in SWITCHES:
            continue
        if name not in CANONICAL:
            raise BadParameter(f"There is no parameter called {shown_value(name)}.", param=name[:80],
                               hint="See the Parameters tab or docs/parameters.md for the names.")  # fmt: skip
        param = BY_NAME[CANONICAL[name]]
        checked = param.check(value)
        if checked == param.default and checked != value and value in param.off and value >= 0:
            said = f"{name} is {value}, which is read as off ({param.default})."
            notices.append(Notice("read_as_off", said, param=name))
        other = came_as.get(param.name)
        if other is None:
            out[param.name], came_as[param.name] = checked, name
            continue
        winner, loser = (other, name) if other == param.name or name != param.name else (name, other)
        if checked != out[param.name]:
            said = f"{winner} and {loser} are two names of one parameter with two values; {winner} counts."
            notices.append(Notice("two_names", said, param=loser))
        if winner == name:
            out[param.name], came_as[param.name] = checked, name
    for name in SWITCHES:
        if values.get(name) is not None:
            out |= _switched(name, values[name], out)
    return out, tuple(notices)


SWITCHES: Mapping[str, str] = {
    "do_sample": "`false` becomes `temperature: 0` without dynamic temperature; `true` changes nothing.",
    "temperature_last": "`true` moves the temperature to the end of `sampler_priority`; `false` changes nothing.",
}
"""Names from other programs that say what a parameter of ours says already, and what they become."""


def _switched(name: str, value: Any, others: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    """What a switch becomes. Raises BadParameter when it is not true or false."""
    flag = as_flag(value)
    if flag is None:
        raise BadParameter(f"{name} is {shown_value(value)}, but it has to be true or false.", param=name)
    if name == "do_sample" and not flag:
        return {"temperature": 0.0, "dynamic_temperature": False}
    if name == "temperature_last" and flag:
        order = others.get("sampler_priority", list(DEFAULT_SAMPLER_ORDER))
        names = [str(one) for one in order] if isinstance(order, list) else []
        late = ("temperature", "dynamic_temperature", "quadratic_sampling")
        names.sort(key=lambda one: one in late)
        return {"sampler_priority": names}
    return {}


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

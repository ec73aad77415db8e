"""A request's chain: which samplers act, in which order, and what is said about those that do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loaders.torch_sampling import temperatures, truncation
from loaders.torch_sampling.candidates import Candidates
from loaders.torch_sampling.dry import Dry
from loaders.torch_sampling.history import History
from loaders.torch_sampling.order import step_order
from loaders.torch_sampling.repetition import NoRepeat, Penalties, PromptPenalty
from loaders.torch_sampling.selection import AdaptiveP, Mirostat, Plain, Selection
from loaders.torch_sampling.settings import Settings
from loaders.torch_sampling.vocabulary import Vocabulary
from modules.types import Notice

_KEEPS_BEST = frozenset({"top_n_sigma", "top_k", "top_p", "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p"})
"""Steps that never leave out the likeliest token nor change which it is."""


class Remembering(Protocol):
    """A sampler that looks at what was written. `size`: of the vocabulary; `accept`: once history has the token."""

    def __call__(self, c: Candidates, size: int) -> None: ...
    def accept(self, token: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Chain:
    """`steps` one after the other, then `chooser`. `greedy`: the likeliest of what `steps` leave is taken."""

    steps: tuple[Callable[[Candidates], None], ...]
    remembering: tuple[Remembering, ...]
    chooser: Selection
    greedy: bool
    notices: tuple[Notice, ...]


def build(
    settings: Settings, vocabulary: Vocabulary, history: History, prompt: Sequence[int], chance: Callable[[], float]
) -> Chain:
    """`chance` gives numbers from 0 to below 1."""
    acting = [name for name in step_order(settings.words("sampler_priority")) if settings.acts(name)]
    notices = _without_effect(settings)
    if settings.mirostat:
        return _mirostat(settings, vocabulary, acting, notices)
    adaptive = settings.number("adaptive_target") > 0
    greedy = settings.temperatures[1] <= 0 and not adaptive
    while greedy and acting and (acting[-1] in _KEEPS_BEST or acting[-1] == "temperature"):
        acting.pop()
    steps: list[Callable[[Candidates], None]] = []
    remembering: list[Remembering] = []
    for name in acting:
        if (sampler := _remembering(name, settings, vocabulary, history, prompt)) is not None:
            remembering.append(sampler)
            steps.append(_with_size(sampler, vocabulary.size))
        else:
            steps.append(_step(name, settings, chance))
    chooser = AdaptiveP(settings.number("adaptive_target"), settings.number("adaptive_decay")) if adaptive else Plain()
    return Chain(tuple(steps), tuple(remembering), chooser, greedy, tuple(notices))


def _mirostat(settings: Settings, vocabulary: Vocabulary, acting: list[str], notices: list[Notice]) -> Chain:
    """Temperature, then mirostat, and nothing else: as in llama.cpp."""
    replaced = [name for name in acting if name != "temperature"]
    if settings.number("adaptive_target") > 0:
        replaced.append("adaptive_p")
    if replaced:
        said = f"Mirostat takes the place of the other samplers: {', '.join(replaced)} did not act."
        notices.append(Notice("sampler_ignored", said, param="mirostat_mode"))
    temperature = sum(settings.temperatures) / 2
    steps = () if temperature == 1 else (temperatures.temperature(temperature),)
    tau, eta = settings.number("mirostat_tau"), settings.number("mirostat_eta")
    return Chain(steps, (), Mirostat(settings.mirostat, tau, eta, vocabulary.size), False, tuple(notices))


def _remembering(
    name: str, settings: Settings, vocabulary: Vocabulary, history: History, prompt: Sequence[int]
) -> Remembering | None:
    number, amount = settings.number, settings.integer("repetition_penalty_range")
    match name:
        case "penalties":
            strengths = (number("repetition_penalty"), number("frequency_penalty"), number("presence_penalty"))
            return Penalties(history, amount, *strengths)
        case "encoder_repetition_penalty":
            return PromptPenalty(prompt, number(name))
        case "no_repeat_ngram":
            return NoRepeat(history, settings.integer("no_repeat_ngram_size"))
        case "dry":
            breakers = vocabulary.breakers(settings.words("dry_sequence_breakers"))
            allowed = settings.integer("dry_allowed_length")
            return Dry(history, amount, breakers, number("dry_multiplier"), number("dry_base"), allowed)
    return None


def _with_size(sampler: Remembering, size: int) -> Callable[[Candidates], None]:
    return lambda c: sampler(c, size)


def _step(name: str, settings: Settings, chance: Callable[[], float]) -> Callable[[Candidates], None]:
    number = settings.number
    match name:
        case "top_k":
            return truncation.top_k(settings.integer("top_k"))
        case "xtc":
            return truncation.xtc(number("xtc_probability"), number("xtc_threshold"), chance)
        case "quadratic_sampling":
            return temperatures.quadratic(number("smoothing_factor"), number("smoothing_curve"))
        case "temperature":
            low, high = settings.temperatures
            if low < high:
                return temperatures.dynamic_temperature(low, high, number("dynatemp_exponent"))
            return temperatures.temperature(low)
    simple = {
        "top_p": truncation.top_p, "min_p": truncation.min_p, "typical_p": truncation.typical_p,
        "top_n_sigma": truncation.top_n_sigma, "tfs": truncation.tfs, "top_a": truncation.top_a,
        "epsilon_cutoff": truncation.epsilon_cutoff, "eta_cutoff": truncation.eta_cutoff,
    }  # fmt: skip
    return simple[name](number(name))


def _without_effect(settings: Settings) -> list[Notice]:
    """Values that were given and cannot act, because another says so."""
    out = []
    number = settings.number
    if settings.integer("repetition_penalty_range") == 0:
        given = [
            name
            for name, neutral in (
                ("repetition_penalty", 1), ("frequency_penalty", 0), ("presence_penalty", 0), ("dry_multiplier", 0),
            )
            if number(name) != neutral
        ]  # fmt: skip
        if given:
            said = f"repetition_penalty_range is 0, so {', '.join(given)} had nothing to look at."
            out.append(Notice("sampler_ignored", said, param="repetition_penalty_range"))
    if number("xtc_probability") > 0 and number("xtc_threshold") > 0.5:
        said = "XTC did not act: no two tokens can both be more likely than an xtc_threshold above 0.5."
        out.append(Notice("sampler_ignored", said, param="xtc_threshold"))
    return out

"""One sampling parameter: what it is, and how a value for it is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modules.errors import BadParameter
from modules.types import ParamValue

Kind = Literal["float", "int", "bool", "text", "choice", "list", "map"]
_HIGHEST = 2**31 - 1  # engines keep numbers in 32 bits
_MOST_ITEMS, _LONGEST_ITEM = 256, 256


@dataclass(frozen=True, slots=True)
class Param:
    """One sampling parameter.

    default   the neutral value: sending it changes nothing; presets leave it out
    start     the value a fresh installation uses, when it is not the neutral one
    group     heading it stands under in the Parameters tab
    engines   engine dialect → the name that engine's interface uses
    aliases   other names accepted in presets and API requests
    hard_low, hard_high  what is accepted, where that is more or less than the control's range
    items     what a list may hold; empty = anything
    in_presets  False for what belongs to the person and not to a style: a preset does not touch it
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
    in_presets: bool = True
    items: tuple[str, ...] = ()

    def check(self, value: Any) -> ParamValue:
        """`value` as this parameter's type. Raises BadParameter naming the allowed range."""
        checked = _CHECKS[self.kind](self, value)
        low = self.low if self.hard_low is None else self.hard_low
        if isinstance(checked, (int, float)) and not isinstance(checked, bool):
            high = _HIGHEST if self.hard_high is None else self.hard_high
            if checked != checked or (low is not None and checked < low) or (high is not None and checked > high):
                raise _bad(self, value, f"a number {_span(low, high)}")
        return checked


def _span(low: float | None, high: float | None) -> str:
    if low is not None and high is not None and high != _HIGHEST:
        return f"from {written(low)} to {written(high)}"
    if low is not None:
        return f"of at least {written(low)}"
    return f"of at most {written(high)}" if high is not None else "that is finite"


def written(limit: float) -> str:
    """A limit as people write it: 4294967294 and not 4.29497e+09."""
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


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
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
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
    if not isinstance(value, str) or not _is_whole(value):
        raise _bad(param, value, "text")
    return value


def _is_whole(text: str) -> bool:
    """Whether text can be saved and sent: half of a surrogate pair, which JSON allows, cannot."""
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def _as_choice(param: Param, value: Any) -> ParamValue:
    """A choice of numbers may come as number: textgen's presets have `mirostat_mode: 2`."""
    text = value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        text = str(value) if isinstance(value, int) else f"{value:g}"  # :g makes a float of an int, if it can
    if not isinstance(text, str) or text not in param.choices:
        raise _bad(param, value, "one of " + ", ".join(param.choices))
    return text


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
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and _is_whole(item) for item in value):
        raise _bad(param, value, "a list of strings")
    items = [str(item) for item in value]
    if len(items) > _MOST_ITEMS or any(len(item) > _LONGEST_ITEM for item in items):
        raise _bad(param, value, f"at most {_MOST_ITEMS} strings of at most {_LONGEST_ITEM} characters")
    if param.items:
        items = [item.strip() for item in items]
        unknown = [item for item in items if item not in param.items]
        if unknown:
            raise _bad(param, unknown[0], "a list of these names: " + ", ".join(param.items))
    return items


def _as_map(param: Param, value: Any) -> ParamValue:
    if not isinstance(value, dict):
        raise _bad(param, value, "an object of token id to bias")
    out: dict[str, Any] = {}
    for key, bias in value.items():
        numeric = isinstance(bias, (int, float)) and not isinstance(bias, bool)
        token = str(key)
        known = token.isascii() and token.isdigit() and len(token) <= 10
        if not known or not numeric or not -100 <= bias <= 100:
            raise _bad(param, value, "an object of token id to a bias from -100 to 100")
        out[token] = float(bias)
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

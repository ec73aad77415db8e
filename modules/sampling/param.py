"""One sampling parameter: what it is, and how a value for it is read and checked.

Values are read in the notations of text-generation-webui, SillyTavern, llama.cpp, vLLM, SGLang and TabbyAPI: a list or
an object in a string, a number as a string, true and false as 0 and 1, null for "left out", and the number a program
has for "off" where the neutral value is another (`Param.off`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modules.errors import BadParameter, shown_value
from modules.types import ParamValue

Kind = Literal["float", "int", "bool", "text", "choice", "list", "map"]
_HIGHEST = 2**31 - 1  # engines keep numbers in 32 bits
_MOST_ITEMS, _LONGEST_ITEM = 256, 256
_MOST_BIASES = 200_000  # more than any vocabulary has tokens that one would name
_LONGEST_TEXT = 200_000  # characters of a list or an object that is written in a string
_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
NEVER = -100.0
"""The bias that forbids a token."""


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
    item_aliases  other programs' names for items → ours
    off       numbers that other programs have for "off"; they are read as the neutral value
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
    item_aliases: Mapping[str, str] = field(default_factory=dict)
    off: tuple[float, ...] = ()

    def is_off(self, value: Any) -> bool:
        """Whether `value` is a way to write "off" or "left out": null, an empty text, or one of `off`."""
        if value is None or (isinstance(value, str) and not value.strip() and self.kind not in ("text", "list")):
            return True
        number = as_number(value)
        return number is not None and number in self.off

    def check(self, value: Any) -> ParamValue:
        """`value` as this parameter's type, in any notation. Raises BadParameter naming the allowed range."""
        if self.is_off(value):
            return self.default
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
    return BadParameter(
        f"{param.name} is {shown_value(value)}, but it has to be {wanted}.",
        hint=f"Neutral is {param.default!r}.",
        param=param.name,
    )


def as_number(value: Any) -> int | float | None:
    """A number, also one in a string; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return None
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _as_float(param: Param, value: Any) -> ParamValue:
    number = as_number(value)
    if number is None or abs(number) > 1e300:
        raise _bad(param, value, "a number")
    return float(number)


def _as_int(param: Param, value: Any) -> ParamValue:
    number = as_number(value)
    if number is None or number != number or number % 1:
        raise _bad(param, value, "a whole number")
    return int(number)


def as_flag(value: Any) -> bool | None:
    """true or false, also as 0, 1 or a word; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    word = value.strip().lower() if isinstance(value, str) and len(value) < 20 else ""
    return True if word in _TRUE else False if word in _FALSE else None


def _as_bool(param: Param, value: Any) -> ParamValue:
    flag = as_flag(value)
    if flag is None:
        raise _bad(param, value, "true or false")
    return flag


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
    """A list of strings, also in a string: a JSON array, quoted items with commas between, lines, or names."""
    given = _list_in_text(param, value) if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or len(given) > _MOST_ITEMS:
        raise _bad(param, value, f"a list of at most {_MOST_ITEMS} strings")
    if not all(isinstance(item, str) and len(item) <= _LONGEST_ITEM and _is_whole(item) for item in given):
        raise _bad(param, value, f"a list of strings of at most {_LONGEST_ITEM} characters")
    items = [str(item) for item in given]
    if param.items:
        items = [param.item_aliases.get(item.strip(), item.strip()) for item in items]
        unknown = [item for item in items if item not in param.items]
        if unknown:
            raise _bad(param, unknown[0], "a list of these names: " + ", ".join(param.items))
    return items


def _list_in_text(param: Param, value: str) -> Any:
    text = value.strip()
    if len(text) > _LONGEST_TEXT:
        raise _bad(param, value, f"a list of at most {_MOST_ITEMS} strings")
    if text.startswith(("[", '"', "'")):
        # Not strict: YAML may already have made a line break of the \\n.
        return _from_json(param, text if text.startswith("[") else f"[{text}]",
                          'a list such as ["\\n", ":"], its strings in double quotes')  # fmt: skip
    lines = text if "\n" in text else text.replace(",", "\n")
    items = [item.strip() for item in lines.splitlines() if item.strip()]
    if any("\\" in item for item in items):
        raise _bad(param, value, 'a list in double quotes, such as "\\n", ":", where it has a backslash')
    return items


def _from_json(param: Param, text: str, wanted: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        raise _bad(param, text, wanted) from None


def _as_map(param: Param, value: Any) -> ParamValue:
    """Token id → bias: an object, one in a string, or llama.cpp's list of pairs (false = never)."""
    wanted = "an object of token id to a bias from -100 to 100"
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        value = _from_json(param, value, wanted)
    pairs: Any = value.items() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list, tuple)) or len(value) > _MOST_BIASES:
        raise _bad(param, value, wanted)
    out: dict[str, Any] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise _bad(param, pair, wanted)
        number, bias = pair
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _HIGHEST:
            number = str(number)
        token = number if isinstance(number, str) else ""
        bias = NEVER if bias is False else as_number(bias)
        known = len(token) <= 10 and token.isascii() and token.isdigit()
        if not known or bias is None or not -100 <= bias <= 100:
            raise _bad(param, {token[:20]: pair[1]}, wanted)
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

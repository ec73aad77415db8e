"""What a setting is: its name, its type, its flag, and how a value for it is checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from modules.errors import BadParameter, shown_value

Kind = Literal["text", "int", "bool", "list", "choice"]
Value = bool | int | str | tuple[str, ...]

ENV_PREFIX = "ENGINEHOUSE_"
MOST_ITEMS = 1000
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    flag            the command-line flag shown first; a bool that is on by default shows its --no- form
    aliases         further flags that are understood and not shown, for people who come from elsewhere
    metavar         what stands for the value in --help
    low, high       bounds of an int, both allowed
    restart_needed  a change is written at once and takes effect at the next start
    secret          never printed, logged or sent to a browser
    in_file         False when settings.yaml cannot hold it
    """

    name: str
    kind: Kind
    default: Value
    flag: str
    group: str
    help: str
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    metavar: str = ""
    aliases: tuple[str, ...] = ()
    restart_needed: bool = False
    secret: bool = False
    in_file: bool = True

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return ENV_PREFIX + self.name.upper()

    def check(self, value: Any) -> Value:
        """`value` as this setting's type. Raises BadParameter naming what is allowed."""
        if self.kind == "bool" and isinstance(value, bool):
            return value
        if self.kind == "int" and isinstance(value, int) and not isinstance(value, bool) and self._inside(value):
            return value
        if self.kind == "choice" and value in self.choices:
            return str(value)
        if self.kind == "text" and _is_line(value):
            return str(value).strip()
        if self.kind == "list" and _are_lines(value):
            return tuple(item.strip() for item in value if item.strip())
        if value is None:
            return self.default
        if self.kind == "bool" and value in (0, 1) and isinstance(value, int):
            return bool(value)
        if self.kind in ("bool", "int", "list") and isinstance(value, str) and _is_line(value):
            return self.parse(value)
        raise self._wrong(value)

    def _wrong(self, value: Any) -> BadParameter:
        shown = "a hidden value" if self.secret else shown_value(value)
        return BadParameter(f"{self.name} is {shown}, but it has to be {self.wanted}.", param=self.name)

    def parse(self, text: str) -> Value:
        """The value written as text on the command line or in the environment. Raises BadParameter."""
        word = text.strip()
        if self.kind == "bool" and word.casefold() in _YES | _NO:
            return word.casefold() in _YES
        if self.kind == "int" and len(word) <= 20 and word.lstrip("+-").isdecimal():
            return self.check(int(word))
        if self.kind == "list":
            return self.check(self._items(word))
        if self.kind in ("bool", "int"):
            raise self._wrong(text)
        return self.check(text)

    def _items(self, text: str) -> list[Any]:
        """The items of a list in a string: a JSON array, or texts with commas between. Raises BadParameter."""
        if not text.startswith("["):
            return [*text.split(",")]
        try:
            return list(json.loads(text))
        except (ValueError, RecursionError):
            raise self._wrong(text) from None

    def _inside(self, value: int) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    @property
    def wanted(self) -> str:
        """What a value has to be, in words."""
        if self.kind == "int" and self.low is not None and self.high is not None:
            return f"a whole number from {self.low} to {self.high}"
        words = {
            "bool": "true or false",
            "int": "a whole number",
            "text": "one line of text",
            "list": "a list of texts",
        }
        return words[self.kind] if self.kind != "choice" else "one of " + ", ".join(self.choices)


def _are_lines(value: Any) -> bool:
    """Whether a value is a list of such lines."""
    return isinstance(value, (list, tuple)) and len(value) <= MOST_ITEMS and all(map(_is_line, value))


def _is_line(value: Any) -> bool:
    """Whether a value is one line of text that can be saved and sent (no half surrogate pair from odd file names)."""
    return isinstance(value, str) and not any(char in "\x00\n\r" or 0xD800 <= ord(char) <= 0xDFFF for char in value)

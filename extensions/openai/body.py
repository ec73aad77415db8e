"""Reading fields of a request: each has to be asked for by name, so that what is left is what nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.extension_api import BadParameter


class Body:
    """A JSON object. null counts as left out. Wrong values raise BadParameter naming the field."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._left = {name: value for name, value in values.items() if value is not None}

    def take(self, name: str, default: Any = None) -> Any:
        """The field as it came."""
        return self._left.pop(name, default)

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self.take(name, default)
        if not isinstance(value, str):
            raise wrong(name, value, "a string")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise wrong(name, value, "true or false")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(name, value, f"a whole number from {low} to {high}")
        return value

    def object(self, name: str) -> dict[str, Any]:
        """A JSON object; {} when it is left out."""
        value = self.take(name, {})
        if not isinstance(value, dict):
            raise wrong(name, value, "an object")
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """One of a few strings."""
        value = self.take(name, default)
        if value not in choices:
            raise wrong(name, value, "one of " + ", ".join(choices))
        return str(value)

    def rest(self) -> list[str]:
        """Names nobody asked for."""
        return list(self._left)

    def has(self, name: str) -> bool:
        """Whether the field is there and has not been taken."""
        return name in self._left


def wrong(name: str, value: Any, wanted: str) -> BadParameter:
    """The error for a field of the wrong kind."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return BadParameter(f"{name} is {shown}, but it has to be {wanted}.", param=name)

"""Reading the fields of a request: each has to be asked for by name, so that what is left is what nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modules.errors import BadParameter, shown_value
from modules.sampling.param import as_flag, as_number
from modules.types import Notice

MOST_NAMED = 20
"""Unknown fields named one by one; looking for similar names takes time."""


class Body:
    """A JSON object, and the objects inside it. null counts as left out.

    Wrong values raise BadParameter naming the field with its path ("response_format.type").

    where  the path of this object in the whole body, "" for the body itself
    """

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self.where = where
        self._left = {name: value for name, value in values.items() if value is not None}
        self._inner: list[Body] = []

    def path(self, name: str) -> str:
        """A field's path in the whole body."""
        return f"{self.where}.{name}" if self.where else name

    def take(self, name: str, default: Any = None) -> Any:
        """The field as it came."""
        return self._left.pop(name, default)

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self.take(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, value, "a string")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false, also as 1, 0, "true", "false"."""
        value = self.take(name, default)
        flag = as_flag(value)
        if flag is None:
            raise self.wrong(name, value, "true or false")
        return flag

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`, also in a string."""
        value = self.take(name, default)
        number = as_number(value)
        if number is None or number != number or number % 1 or not low <= number <= high:
            raise self.wrong(name, value, f"a whole number from {low} to {high}")
        return int(number)

    def object(self, name: str) -> dict[str, Any]:
        """A JSON object that is handed on as it is; {} when it is left out."""
        value = self.take(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, value, "an object")
        return value

    def inner(self, name: str) -> Body:
        """A JSON object whose fields are read one by one too; an empty one when it is left out."""
        return self.enter(name, self.object(name))

    def enter(self, name: str, values: Mapping[str, Any]) -> Body:
        """The same for an object that came as something else, such as JSON in a string."""
        found = Body(values, self.path(name))
        self._inner.append(found)
        return found

    def items(self, name: str, most: int) -> list[Any]:
        """A list of at most `most` items; [] when it is left out."""
        value = self.take(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, value, "a list")
        if len(value) > most:
            raise BadParameter(f"{self.path(name)} has {len(value):,} items, but {most:,} is the most.",
                               param=self.path(name))  # fmt: skip
        return value

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of a few strings."""
        value = self.take(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, value, "one of " + ", ".join(choices))
        return value

    def has(self, name: str) -> bool:
        """Whether the field is there and has not been taken."""
        return name in self._left

    def rest(self) -> list[str]:
        """Names nobody asked for, in this object alone."""
        return list(self._left)

    def wrong(self, name: str, value: Any, wanted: str) -> BadParameter:
        """The error for a field of the wrong kind."""
        return wrong(self.path(name), value, wanted)

    def unknown(self, known: Sequence[str] = ()) -> tuple[Notice, ...]:
        """A Notice for each field nobody asked for, nested ones too, with the name that may have been meant.

        Call it when everything has been read. `known` are the names of this object that there are.
        """
        named: list[Notice] = []
        count = 0
        for body, name in self._unread():
            count += 1
            if count > MOST_NAMED:
                continue
            near = difflib.get_close_matches(name[:80], known, 1) if body is self else []
            hint = f" Did you mean {near[0]}?" if near else ""
            path = body.path(name[:80])
            named.append(Notice("unknown_field", f"{path} is not known here and was ignored.{hint}", param=path))
        if count > MOST_NAMED:
            named.append(Notice("unknown_field", f"{count - MOST_NAMED} more fields are not known here."))
        return tuple(named)

    def _unread(self) -> Iterator[tuple[Body, str]]:
        for name in self._left:
            yield self, name
        for inner in self._inner:
            yield from inner._unread()


def wrong(name: str, value: Any, wanted: str) -> BadParameter:
    """The error for a field of the wrong kind."""
    return BadParameter(f"{name} is {shown_value(value)}, but it has to be {wanted}.", param=name)

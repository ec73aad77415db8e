"""Sampling values of a request: the preset's, the request's own in any program's notation, seeds, stop strings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from modules.dialects.body import Body
from modules.errors import BadParameter
from modules.hooks.context import ExtensionContext
from modules.sampling.param import as_number
from modules.sampling.params import BY_NAME, CANONICAL, read_values
from modules.types import Notice

SEEDS = 2**32 - 1  # 0 to SEEDS - 1; llama.cpp takes SEEDS itself for "random"
MOST_STOPS = 16
LONGEST_STOP = 1000
_LENGTH = BY_NAME["max_tokens"]


async def read_sampling(body: Body, context: ExtensionContext) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """Values by PARAMS name, every field that is one taken out of `body`; the preset's where the request names none.

    A reply length of 0 is refused, as it would be a reply of nothing; -1 is "no limit". Raises BadParameter, and
    NotFound for a preset that is not there.
    """
    values: dict[str, Any] = {}
    notices: list[Notice] = []
    if preset := body.text("preset"):
        values = dict(await asyncio.to_thread(context.presets.load, preset))
        values = {name: value for name, value in values.items() if name in CANONICAL}
        values, _ = read_values(values)
    given = {name: body.take(name) for name in body.rest() if name in CANONICAL}
    for name, value in given.items():
        if CANONICAL[name] == "max_tokens" and not _LENGTH.is_off(value) and (as_number(value) or 0) < 1:
            _LENGTH.check(value)
            raise BadParameter(f"{name} is 0, but it has to be at least 1.", param=name,
                               hint="Leave it out for no limit.")  # fmt: skip
        if CANONICAL[name] == "seed":
            given[name] = _seed(name, value, notices)
    own, said = read_values(given)
    return {**values, **own}, (*notices, *said)


def _seed(name: str, value: Any, notices: list[Notice]) -> Any:
    number = as_number(value)
    if isinstance(number, int) and not -1 <= number < SEEDS:
        notices.append(Notice("seed_folded", f"The seed {str(number)[:40]} was taken modulo {SEEDS}.", param=name))
        return number % SEEDS
    return value


def seeded(params: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The values for one of several choices: the same seed would give the same reply n times."""
    seed = params.get("seed", -1)
    if not number or seed < 0:
        return dict(params)
    return {**params, "seed": (seed + number) % SEEDS}


def read_stop(body: Body, name: str = "stop") -> tuple[str, ...]:
    """Strings that end the reply: one, or a list. Empty ones, which would end every reply at once, mean none."""
    value = body.take(name, [])
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > 100 * MOST_STOPS or not all(isinstance(s, str) for s in stops):
        raise body.wrong(name, value, "a string or a list of strings")
    found = [stop for stop in stops if stop]
    if len(found) > MOST_STOPS:
        raise BadParameter(f"{body.path(name)} has {len(found)} strings, but {MOST_STOPS} is the most.",
                           param=body.path(name))  # fmt: skip
    if any(len(stop) > LONGEST_STOP for stop in found):
        raise BadParameter(f"A stop string has to have 1 to {LONGEST_STOP} characters.", param=body.path(name))
    return tuple(found)

"""Which of llama-server's slots a request asks for, so that what was computed for a chat is found again.

How the server behaves (llama.cpp, tools/server/server-context.cpp, get_available_slot and process_single_task):

* A slot keeps the prompt it computed last. With a prompt cache in memory, every slot that is idle when a request
  starts is saved to that cache and emptied; without one it keeps its prompt.
* A request that names no slot gets the idle one whose prompt is more similar than a threshold, else the one used
  longest ago. Only where a slot's prompt is *not* similar does the server look into its cache: a short request
  that shares a system prompt with a long chat so hides that chat from it. The loader sets the threshold high.
* A request that names a slot gets it, and waits for it while it is busy. For a slot that is not empty the cache is
  looked into as above; for an empty one it is not.

So a slot is named only where it is known to be idle and to hold something of use, and only while no request of ours
is on its way into a slot: its start would empty the others. Everything else is left to the server, and it is looked
up afterwards which slot it took. The picture here is a guess about a server nobody else uses; where it is wrong, a
prompt is read again and nothing worse happens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Prompt = str | tuple[int, ...]

LEAVING_S = 1.0
"""Seconds until the server has surely noticed a hang-up (it looks once a second) and the slot is idle."""
WORTH_WAITING = 1000
"""Characters a slot that is being left has to share; reading fewer again takes no longer than the wait."""
REMEMBERED = 32
"""Prompts believed to be in the server's cache."""


@dataclass(slots=True, eq=False)
class Place:
    """One request: the slot it asks for, and the one it has once it has started. None = the server's choice."""

    prompt: Prompt
    wanted: int | None = None
    slot: int | None = None
    mix: tuple[float, ...] = ()
    number: int = 0
    over: tuple[Prompt, float] | None = None


@dataclass(slots=True)
class _Slot:
    held: Prompt = ""
    mix: tuple[float, ...] = ()
    user: Place | None = None
    idle_at: float = 0.0


class Slots:
    """The picture of one server's slots. `kept`: idle slots keep their prompt when another request starts."""

    def __init__(self, count: int, kept: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._kept = kept
        self._clock = clock
        self._starting: set[Place] = set()
        self._given_up: list[float] = []  # until when requests cancelled on their way may still start
        self._aside: deque[Prompt] = deque(maxlen=REMEMBERED)
        self._starts = 0

    def ask(self, prompt: Prompt, mix: tuple[float, ...] = ()) -> Place:
        """A place for a request that is sent now. `started` and `ended` have to follow.

        `mix` are the strengths of the adapters: the server throws away what another mix computed.
        """
        now = self._clock()
        self._given_up = [until for until in self._given_up if until > now]
        place = Place(prompt, mix=mix)
        if not self._starting and not self._given_up:
            place.wanted = self._best(place, now)
        self._starting.add(place)
        return place

    def started(self, place: Place) -> bool:
        """The server works on it. True = in which slot has to be looked up, and told with `found`."""
        self._starts += 1
        place.number = self._starts
        self._others_emptied(place.wanted)
        if place.wanted is None:
            return True
        self.found(place, place.wanted)
        return False

    def found(self, place: Place, slot: int | None) -> None:
        """The slot it is in; None when that cannot be known."""
        self._starting.discard(place)
        if slot is None or not 0 <= slot < len(self._slots):
            return
        if place.over is None:
            place.slot, self._slots[slot].user, self._slots[slot].mix = slot, place, place.mix
        elif place.number == self._starts and self._slots[slot].user is None:
            self._slots[slot].held, self._slots[slot].idle_at = place.over
            self._slots[slot].mix = place.mix

    def ended(self, place: Place, text: str, cancelled: bool = False, known: bool = True) -> None:
        """It is over; `text` is what was generated, `known` = the slot still holds prompt and text."""
        until = self._clock() + LEAVING_S if cancelled else 0.0
        prompt = place.prompt
        held = (prompt + text if isinstance(prompt, str) else prompt) if known else ""
        place.over = (held, until)
        self._starting.discard(place)
        if place.slot is not None and self._slots[place.slot].user is place:
            slot = self._slots[place.slot]
            slot.user, slot.held, slot.idle_at = None, held, until
        elif not place.number and cancelled:
            self._given_up.append(until)
        elif not place.number:  # refused, and perhaps only after it had been given a slot
            self._others_emptied(None)
            if place.wanted is not None:
                self._slots[place.wanted].held = ""

    def spare(self) -> int | None:
        """An idle slot whose loss costs least: one that holds nothing, else the one that holds least."""
        idle = [number for number, slot in enumerate(self._slots) if slot.user is None]
        return min(idle, key=lambda number: len(self._slots[number].held), default=None)

    def holds(self, number: int, prompt: Prompt) -> None:
        """What was put into a slot past a request; "" while that is going on."""
        slot = self._slots[number]
        if slot.user is None:
            slot.held, slot.mix, slot.idle_at = prompt, (), 0.0

    def _best(self, place: Place, now: float) -> int | None:
        """The idle slot that shares most with the prompt, unless the server's cache has more of it."""
        prompt = place.prompt
        found: int | None = None
        most = 0 if self._kept else max((shared(aside, prompt) for aside in self._aside), default=0)
        for number, slot in enumerate(self._slots):
            if slot.user is not None or not slot.held or slot.mix != place.mix:
                continue
            same = shared(slot.held, prompt)
            if self._kept and 2 * same <= len(slot.held):
                continue  # nobody saves it: more would be lost than is found
            if slot.idle_at > now and same < WORTH_WAITING:
                continue
            if same > most or (found is None and same == most > 0):
                found, most = number, same
        return found

    def _others_emptied(self, but: int | None) -> None:
        """The server saves the idle slots and empties them; of what it saved before, beginnings of those go."""
        for number, slot in enumerate(self._slots):
            if self._kept or slot.user is not None or number == but or not slot.held:
                continue
            held, slot.held = slot.held, ""
            rest = [aside for aside in self._aside if shared(aside, held) < len(aside)]
            self._aside = deque([*rest, held], REMEMBERED)


def shared(one: Prompt, other: Prompt) -> int:
    """Length of the common beginning; 0 for a text and token ids, which cannot be compared."""
    if type(one) is not type(other):
        return 0
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low

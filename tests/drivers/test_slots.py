"""Which slot a request asks for, by a model of what llama-server does with its slots and its prompt cache."""

from __future__ import annotations

import pytest

from modules.drivers.slots import LEAVING_S, WORTH_WAITING, Place, Slots, shared

SYSTEM = "You are helpful. " * 20
CHAT = SYSTEM + "A long story about the sea. " * 40


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def begin(slots: Slots, prompt: str | tuple[int, ...], in_slot: int = 0) -> Place:
    """A request that has started; the server puts it in `in_slot` where none was asked for."""
    place = slots.ask(prompt)
    if slots.started(place):
        slots.found(place, in_slot)
    return place


def run(slots: Slots, prompt: str | tuple[int, ...], text: str = "", in_slot: int = 0) -> int | None:
    """A whole request; the slot it asked for."""
    place = begin(slots, prompt, in_slot)
    slots.ended(place, text)
    return place.wanted


def test_a_chat_goes_on_in_the_slot_it_was_in() -> None:
    slots = Slots(4, kept=False)
    assert run(slots, CHAT, " Once.", in_slot=3) is None
    assert run(slots, CHAT + " Once. And then?") == 3


def test_a_chat_whose_prompt_was_put_aside_is_not_sent_to_a_slot_with_less_of_it() -> None:
    slots = Slots(4, kept=False)
    run(slots, CHAT, " Once.", in_slot=3)
    assert run(slots, SYSTEM + "What is two and two?") == 3, "the server saves the chat before it overwrites the slot"
    assert run(slots, "Something else", in_slot=2) is None
    assert slots.ask(CHAT + " Once. And then?").wanted is None, "left to the server, which looks into its cache"


def test_a_slot_is_forgotten_when_another_request_starts_and_the_server_empties_it() -> None:
    slots = Slots(4, kept=False)
    run(slots, CHAT, in_slot=3)
    other = begin(slots, "Something else", in_slot=2)
    assert slots.ask(CHAT + " And?").wanted is None
    slots.ended(other, "")


def test_without_a_cache_slots_keep_their_prompts_and_a_short_request_takes_no_long_chats_slot() -> None:
    slots = Slots(4, kept=True)
    run(slots, CHAT, in_slot=3)
    assert run(slots, SYSTEM + "What is two and two?", in_slot=2) is None
    assert run(slots, SYSTEM + "What is three and three?") == 2
    assert run(slots, CHAT + " And then?") == 3


def test_a_busy_slot_is_not_asked_for() -> None:
    slots = Slots(2, kept=True)
    writing = begin(slots, CHAT, in_slot=1)
    place = begin(slots, CHAT, in_slot=0)
    assert place.wanted is None
    slots.ended(place, "")
    slots.ended(writing, "")
    assert slots.ask(CHAT).wanted in (0, 1)


def test_no_slot_is_asked_for_while_another_request_is_on_its_way_into_one() -> None:
    slots = Slots(4, kept=False)
    run(slots, CHAT, in_slot=3)
    queued = slots.ask("Something else")
    assert slots.ask(CHAT + " And?").wanted is None
    assert slots.started(queued)
    slots.found(queued, None)
    slots.ended(queued, "")


def test_a_request_cancelled_on_its_way_may_still_start_for_a_while() -> None:
    clock = Clock()
    slots = Slots(4, kept=True, clock=clock)
    run(slots, CHAT, in_slot=3)
    slots.ended(slots.ask("Something else"), "", cancelled=True)
    second = slots.ask(CHAT)
    assert second.wanted is None
    slots.ended(second, "", known=False)
    clock.now = LEAVING_S + 0.1
    assert slots.ask(CHAT).wanted == 3


def test_after_a_stop_the_slot_is_waited_for_only_where_that_is_worth_it() -> None:
    clock = Clock()
    for prompt, wanted in (("x" * (WORTH_WAITING - 1), None), ("x" * WORTH_WAITING, 1)):
        slots = Slots(2, kept=False, clock=clock)
        slots.ended(begin(slots, prompt, in_slot=1), "half", cancelled=True)
        assert slots.ask(prompt).wanted == wanted


def test_a_slot_whose_request_failed_holds_nothing_that_is_known() -> None:
    slots = Slots(2, kept=True)
    slots.ended(begin(slots, CHAT, in_slot=1), "half", known=False)
    assert slots.ask(CHAT).wanted is None


def test_a_refused_request_may_have_emptied_the_slots() -> None:
    slots = Slots(2, kept=False)
    run(slots, CHAT, in_slot=1)
    slots.ended(slots.ask(CHAT + "too long"), "", known=False)
    assert slots.ask(CHAT).wanted is None


@pytest.mark.parametrize("another", [False, True])
def test_a_slot_found_after_the_reply_counts_unless_another_request_has_started(another: bool) -> None:
    slots = Slots(4, kept=False)
    place = slots.ask(CHAT)
    assert slots.started(place)
    slots.ended(place, " Once.")
    if another:
        run(slots, "Something else", in_slot=0)
    slots.found(place, 3)
    assert slots.ask(CHAT + " Once. And?").wanted == (None if another else 3)


def test_what_shares_more_is_taken_and_token_ids_are_compared_with_token_ids() -> None:
    slots = Slots(4, kept=True)
    run(slots, (1, 2, 3, 4), in_slot=0)
    run(slots, "1234", in_slot=1)
    assert slots.ask((1, 2, 3, 4, 5)).wanted == 0
    slots = Slots(4, kept=True)
    run(slots, "abcd", in_slot=0)
    begin(slots, "abcdef", in_slot=1)
    assert shared((1, 2), "ab") == 0


def test_the_common_beginning_is_exact() -> None:
    for size in range(12):
        for differs in range(size + 1):
            one = "a" * size
            other = one[:differs] + "b" * (size - differs) + "tail"
            assert shared(one, other) == shared(other, one) == differs


def test_slots_the_server_does_not_have_are_not_believed() -> None:
    slots = Slots(1, kept=True)
    place = slots.ask(CHAT)
    slots.started(place)
    slots.found(place, 7)
    slots.ended(place, "")
    assert slots.ask(CHAT).wanted is None


def test_a_slot_that_another_mix_of_adapters_filled_is_not_asked_for() -> None:
    slots = Slots(2, kept=True)
    place = slots.ask(CHAT, (1.0,))
    slots.started(place)
    slots.found(place, 1)
    slots.ended(place, "")
    assert slots.ask(CHAT, (0.5,)).wanted is None
    assert Slots(2, kept=True).ask(CHAT, (1.0,)).wanted is None
    slots = Slots(2, kept=True)
    late = slots.ask(CHAT, (1.0,))
    slots.started(late)
    slots.ended(late, "")
    slots.found(late, 1)
    assert slots.ask(CHAT, (1.0,)).wanted == 1


def test_what_is_put_into_a_slot_from_disk_is_found_there() -> None:
    slots = Slots(2, kept=False)
    run(slots, CHAT, in_slot=0)
    assert slots.spare() == 1, "which holds nothing"
    slots.holds(1, SYSTEM + "A tale.")
    assert slots.ask(SYSTEM + "A tale. And?").wanted == 1
    busy = Slots(1, kept=False)
    begin(busy, CHAT)
    assert busy.spare() is None
    busy.holds(0, "something")
    assert busy.ask("something else").wanted is None

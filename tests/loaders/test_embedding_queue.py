"""Waiting for others whose texts are computed."""

from __future__ import annotations

from threading import Lock

import pytest

from loaders.text.embedding_queue import turn
from modules.errors import Cancelled


def test_whoever_waits_hears_a_cancel_and_leaves_the_others_turn_alone() -> None:
    lock, looks = Lock(), iter([False, False, True])
    with turn(lock, lambda: False), pytest.raises(Cancelled), turn(lock, lambda: next(looks)):
        raise AssertionError("two have a turn")
    assert not lock.locked()


def test_a_turn_ends_with_what_went_wrong_in_it() -> None:
    lock = Lock()
    with pytest.raises(ValueError, match="wrong"), turn(lock, lambda: True):
        raise ValueError("wrong")
    assert not lock.locked()

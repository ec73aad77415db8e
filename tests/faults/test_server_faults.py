"""Short forms of the faults of the server; the long ones are run by hand."""

from __future__ import annotations

from tests.faults import hang_ups, many_streams, nonsense, server_killed


def test_clients_that_hang_up_free_the_engine_and_cut_no_neighbour() -> None:
    figures = hang_ups.measure(25, seed=7)
    assert not figures.cut
    assert figures.whole
    assert figures.at(0.99) < 1.0, str(figures)


def test_a_killed_server_leaves_no_worker_and_loses_no_message() -> None:
    figures = server_killed.measure(2, seed=7)
    assert figures.orphans == 0
    assert not figures.lost
    assert figures.messages >= 8


def test_many_streams_at_once_are_whole_and_do_not_mix() -> None:
    figures = many_streams.measure(30, seconds=4)
    assert figures.whole == 30, figures.mixed
    assert figures.health_p99 < 1.0, str(figures)


def test_nonsense_is_never_answered_with_a_fault_of_ours() -> None:
    figures = nonsense.measure(1200, seed=7)
    assert not figures.faults, "\n".join(figures.faults)
    assert figures.answers[400] > 100

"""Short forms of the faults of the server; the long ones are run by hand."""

from __future__ import annotations

from tests.faults import hang_ups, many_streams, nonsense, server_killed


def test_clients_that_hang_up_free_the_engine_and_cut_no_neighbour() -> None:
    figures = hang_ups.measure(25, seed=7, tries=3)
    assert not figures.cut
    assert figures.whole
    assert figures.at(0.99) < hang_ups.AIM, str(figures)


def test_a_killed_server_leaves_no_worker_and_loses_no_message() -> None:
    late: list[list[str]] = []
    while not late or (late[-1] and len(late) < 3):  # what other programs keep from the disk once is no fault of ours
        figures = server_killed.measure(2, seed=7)
        assert figures.orphans == 0
        assert not figures.lost
        assert figures.messages >= 8
        late.append(figures.late)
    assert not late[-1], late


def test_many_streams_at_once_are_whole_and_do_not_mix() -> None:
    slowest: list[float] = []
    while not slowest or (slowest[-1] >= 1.0 and len(slowest) < 3):  # other programs can only slow it down
        figures = many_streams.measure(30, seconds=4)
        assert figures.whole == 30, figures.mixed
        slowest.append(figures.health_p99)
    assert min(slowest) < 1.0, slowest


def test_nonsense_is_never_answered_with_a_fault_of_ours() -> None:
    figures = nonsense.measure(1200, seed=7)
    assert not figures.faults, "\n".join(figures.faults)
    assert figures.answers[400] > 100

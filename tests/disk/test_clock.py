"""modules/disk/clock.py: what is saved later has a later time."""

from __future__ import annotations

import pytest

from modules.disk import clock as disk_clock


def test_no_two_things_are_saved_at_the_same_time_and_the_clock_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_790_000_000_999 * 10**6]
    monkeypatch.setattr(disk_clock.time, "time_ns", lambda: clock[0])
    monkeypatch.setattr(disk_clock, "_last_told", [0])
    first, second, third = (disk_clock.now() for _ in range(3))
    assert (first, second, third) == tuple(f"2026-09-21T14:13:{end}Z" for end in ("20.999", "21.000", "21.001"))
    clock[0] += 10**10
    assert disk_clock.now() == "2026-09-21T14:13:30.999Z"
    clock[0] -= 10**12
    assert disk_clock.now() == "2026-09-21T13:56:50.999Z", "somebody set the clock"

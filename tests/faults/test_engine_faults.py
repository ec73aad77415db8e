"""The short form of engine_killed.py: every kind of fault once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.engine_killed import FAULTS, run


@pytest.mark.timeout(200)
def test_every_kind_of_engine_fault_costs_one_reply_and_nothing_more(tmp_path: Path) -> None:
    outcome = asyncio.run(run(len(FAULTS), tmp_path, tries=3))
    assert outcome.count == len(FAULTS)
    assert outcome.wrong == []

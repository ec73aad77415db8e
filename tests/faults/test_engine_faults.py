"""The short forms of engine_killed.py (every kind of fault once) and of gguf_to_engine.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults import gguf_to_engine
from tests.faults.engine_killed import FAULTS, run


@pytest.mark.timeout(200)
def test_every_kind_of_engine_fault_costs_one_reply_and_nothing_more(tmp_path: Path) -> None:
    outcome = asyncio.run(run(len(FAULTS), tmp_path, tries=3))
    assert outcome.count == len(FAULTS)
    assert outcome.wrong == []


@pytest.mark.timeout(300)
def test_a_model_file_with_a_broken_header_is_refused_or_runs_and_nothing_hangs(tmp_path: Path) -> None:
    outcome = asyncio.run(gguf_to_engine.run(5, 1, tmp_path))
    assert outcome.wrong == []
    assert outcome.ends.total() - outcome.ends["refused by the reader"] == 5

"""Short forms of tests/faults/kill_during_save.py. The power-loss figures are in test_durable.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "faults" / "kill_during_save.py"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children, which Windows cannot make")


def kill(times: int, *more: str) -> tuple[int, int, int]:
    """Unreadable chats, lost messages, promises."""
    made = subprocess.run(
        [sys.executable, str(SCRIPT), str(times), *more], capture_output=True, text=True, timeout=250, check=False
    )
    figures = re.match(r"(\d+) unreadable, (\d+) lost of (\d+) ", made.stdout)
    assert figures is not None, made.stdout + made.stderr
    assert made.returncode == (1 if int(figures[1]) or int(figures[2]) else 0)
    return int(figures[1]), int(figures[2]), int(figures[3])


def test_killed_forty_times_while_saving_no_chat_is_unreadable_and_no_promise_is_broken() -> None:
    unreadable, lost, promised = kill(40)
    assert (unreadable, lost) == (0, 0)
    assert promised > 400


@pytest.mark.parametrize("safeguard", ["rewrite", "promise"])
def test_the_kill_check_notices_a_missing_safeguard(safeguard: str) -> None:
    unreadable, lost, _ = kill(30, "--break", safeguard)
    assert unreadable + lost > 0

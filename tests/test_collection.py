"""The suite itself: its processes have to agree on the names of the tests, or none of them runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT


def test_another_process_at_another_time_gives_the_tests_the_same_names(request: pytest.FixtureRequest) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:]
    found = set(done.stdout.splitlines())
    missing = [item.nodeid for item in request.session.items if item.nodeid not in found]
    assert not missing, "parameters must not hold the time, a random number or the order of a set"

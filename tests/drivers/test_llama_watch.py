"""An engine that is a program of its own below the worker gives signs of life too."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from modules.engine.watchdog import Watchdog
from modules.engine.worker_log import WorkerLog

pytestmark = pytest.mark.timeout(60)
WORKER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print("started", flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.mark.parametrize(("below", "works"), [("while True: pass", True), ("import time; time.sleep(60)", False)])
def test_what_runs_below_the_worker_counts(tmp_path: Path, below: str, works: bool) -> None:
    words = [sys.executable, "-c", WORKER, below]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        watch, log = Watchdog(str(tmp_path)), WorkerLog(tmp_path / "engine.log")
        found: list[bool] = []
        until = time.monotonic() + 20
        while time.monotonic() < until and found[-3:] != [works] * 3:
            time.sleep(0.3)
            watch.look(SimpleNamespace(process=worker), log)  # type: ignore[arg-type]
            found.append(watch.computing)
        worker.communicate(timeout=10)
    assert found[-3:] == [works] * 3, found

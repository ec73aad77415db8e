"""Memory in numbers."""

from __future__ import annotations

import os
import subprocess
import sys

from modules.models import memory


def test_the_figures_are_those_of_this_machine_and_this_process() -> None:
    figures = memory.read()
    assert figures.total > figures.available > 0
    assert 10 << 20 < figures.server < figures.total
    assert figures.engine == 0
    assert not figures.partial


def test_a_workers_children_count_as_its_memory() -> None:
    grow = "import subprocess, sys; x = bytearray(b'1' * (40 << 20)); "
    script = grow + f"subprocess.run([sys.executable, '-c', {grow + 'print(1, flush=True); sys.stdin.read()'!r}])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        assert memory.read([child.pid]).engine > 80 << 20
        own = memory.resident_bytes(child.pid)
        assert own is not None
        assert own < 80 << 20
        child.stdin.close()


def test_a_process_that_is_gone_makes_the_figure_partial() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    figures = memory.read([child.pid, os.getpid()])
    assert figures.partial
    assert figures.engine > 0

"""Fault: the power goes at every write boundary of every save path. Figure: 0 violations.

Run: python tests/faults/power_loss.py [--break fsync|"fsync folder"|rename|cut]
Each scenario runs the real code once on a disk that notes every step. Then every state a power cut may
leave, at every moment, is laid out in an empty folder and opened by the real code, which must find what
it had promised, and be able to go on. With --break one safeguard is taken out, and violations must be found:
that is how one sees that the checks can fail. tests/disk/test_durable.py runs both forms.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from modules.chats.journal import Journal  # noqa: E402
from modules.disk import durable  # noqa: E402
from modules.disk.durable import append_durably  # noqa: E402
from modules.errors import EnginehouseError  # noqa: E402
from tests.faults.crash_states import put  # noqa: E402
from tests.faults.fake_disk import LIES, FakeDisk  # noqa: E402
from tests.faults.save_paths import SCENARIOS, Scenario  # noqa: E402


@dataclass
class Figures:
    """What a run found."""

    states: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{len(self.violations)} violations of {self.states} states"


BREAKS = (*LIES, "rename", "cut")
"""fsync, fsync folder: the disk only says it did; rename: files are written in place; cut: a failed append
is left as it is."""


def run(broken: str = "", names: tuple[str, ...] = (), *, first_only: bool = False) -> Figures:
    """All scenarios, or those named, whole or with one safeguard taken out."""
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder, _without(broken):
        for scenario in SCENARIOS:
            if not names or scenario.name in names:
                base = Path(folder).resolve()
                _run_one(scenario, base / "live", base / "after", broken if broken in LIES else "", figures, first_only)
    return figures


@contextmanager
def _without(safeguard: str) -> Iterator[None]:
    if safeguard == "rename":
        with mock.patch.object(durable, "_replace", _write_in_place):
            yield
    elif safeguard == "cut":
        with (
            mock.patch.object(durable, "_cut_back"),
            mock.patch.object(Journal, "_repair"),
            mock.patch("modules.chats.journal.append_durably", lambda path, data, length: append_durably(path, data)),
        ):
            yield
    else:
        yield


def _write_in_place(path: Path, raw: bytes, mode: int | None) -> None:
    """How text-generation-webui saves: the old content is gone before the new one is there."""
    fd = durable.os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    durable.os.write(fd, raw)
    durable.os.fsync(fd)
    durable.os.close(fd)


def _run_one(scenario: Scenario, live: Path, after: Path, lie: str, figures: Figures, first_only: bool) -> None:
    live.mkdir()
    with mock.patch.object(durable.os, "fsync", return_value=None):  # the disks here are made of paper
        scenario.prepare(live)
        disk = FakeDisk(live, lie)
        with disk.watching():
            promised = scenario.act(disk)
        if not lie:
            missed = [name for name in disk.missed() if name.endswith((".jsonl", ".yaml"))]
            assert not missed, f"changed without durable.py: {missed}"
        assert len(promised) == 1 + sum(event.what == "mark" for event in disk.events)
        for marks, state in disk.crashes():
            after.mkdir()
            put(state, after)
            figures.states += 1
            try:
                scenario.check(after, promised[marks : marks + 2])
            except (AssertionError, EnginehouseError) as error:
                figures.violations.append(f"{scenario.name}, after {marks} promises: {error!r}")
            shutil.rmtree(after)
            if figures.violations and first_only:
                break
    shutil.rmtree(live)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--break", dest="broken", choices=BREAKS, default="", help="take this safeguard out")
    parser.add_argument("--verbose", action="store_true", help="name each violation")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # each state that ends in a torn line says so
    figures = run(given.broken)
    if given.verbose:
        print(*figures.violations, sep="\n")
    print(figures)
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())

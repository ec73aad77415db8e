"""The requirements files: each line explained, no PyTorch in the base, the engine pinned once."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launcher.conftest import ROOT

FOLDER = ROOT / "requirements"
FILES = sorted(path.name for path in FOLDER.glob("*.txt"))


def packages(name: str) -> dict[str, str]:
    """Package names of a file with their version ranges, without environment markers."""
    found = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        match = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*([^;#]*)", line)
        if match:
            found[match.group(1)] = match.group(2).strip()
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_dependency_has_a_row_with_its_reason(name: str) -> None:
    rows = [line.split("|") for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()]
    explained = {cell.strip() for row in rows for cell in row[1:3]}
    assert set(packages(name)) <= explained


@pytest.mark.parametrize("name", FILES)
def test_every_range_has_an_end(name: str) -> None:
    assert [package for package, range_ in packages(name).items() if "==" not in range_ and "<" not in range_] == []


def test_the_base_has_no_torch() -> None:
    assert not {"torch", "transformers", "accelerate"} & set(packages("base.txt"))


def test_the_engine_is_pinned_to_one_build() -> None:
    assert re.fullmatch(r"==\d+\.\d+\.\d+", packages("base.txt")["xllamacpp"])


def test_ci_runs_the_test_command_and_repeats_only_what_failed() -> None:
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()]
    run = [line for line in lines if line.startswith(("python", "pip", "pytest", "apt"))]
    assert run == [
        "python3 start.py test || code=$?",
        "python3 start.py test --last-failed --last-failed-no-failures none",
    ]
    assert "set -euo pipefail" in lines  # one more failure and the check has failed
    assert not any("|| true" in line or "continue" in line for line in lines if not line.startswith("#"))


@pytest.mark.skipif(os.name == "nt", reason="a script for bash")
@pytest.mark.parametrize(
    ("failed", "runs", "code"),
    [
        ({"tests/a.py::test_one[x y]": True}, 4, 0),
        ({"tests/a.py::test_one": True, "tests/b.py": True}, 1, 1),
        ({"gw1": True}, 1, 1),
        ({f"tests/a.py::test_{number}": True for number in range(21)}, 1, 1),
    ],
    ids=["a test", "a file", "a process of the tests", "many"],
)
def test_ci_repeats_single_tests_and_nothing_else(
    tmp_path: Path, failed: dict[str, bool], runs: int, code: int
) -> None:
    cache = tmp_path / ".pytest_cache" / "v" / "cache"
    cache.mkdir(parents=True)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (cache / "lastfailed").write_text(json.dumps(failed, indent=2), encoding="utf-8")
    (tmp_path / "start.py").write_text('import sys; open("runs", "a").write("x"); sys.exit(len(sys.argv) == 2)\n')
    done = subprocess.run(["bash", tmp_path / ".ci" / "run"], capture_output=True, check=False, timeout=60)
    assert (done.returncode, (tmp_path / "runs").read_text()) == (code, "x" * runs)

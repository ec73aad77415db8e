"""The page's JavaScript: unit tests under Node's own runner, types by the TypeScript compiler, lint by oxlint.

Each `*.test.js` beside this file is one test here; `node --test tests/js` runs them without Python.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.js.node_tools import ROOT, Unavailable, node, package, run

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.rglob("*.test.js"))


def or_skip(command: Callable[[], list[str]]) -> list[str]:
    """The command of a tool; the test is skipped, with the reason, where the tool cannot be had."""
    try:
        return command()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_unit(path: Path) -> None:
    program = or_skip(lambda: [str(node())])
    ended = run([*program, "--test", "--test-reporter=spec", str(path)])
    assert ended.code == 0, ended.output
    assert "tests 0" not in ended.output, f"{path.name} holds no test"


def test_types() -> None:
    ended = run([*or_skip(lambda: package("typescript", "bin/tsc")), "--project", "tsconfig.json"])
    assert ended.code == 0, ended.output


def test_lint() -> None:
    ended = run([*or_skip(lambda: package("oxlint", "bin/oxlint")), "--format=unix"])
    assert ended.code == 0, ended.output


def test_the_lock_names_hashes_and_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name
    assert (
        lock["packages"][""]["devDependencies"]
        == json.loads((ROOT / "package.json").read_text("utf-8"))["devDependencies"]
    )

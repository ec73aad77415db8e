"""The lock: it covers every requirements file, satisfies its ranges, has a hash on every line, and is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from modules.launcher.lock import LockState, lock_path, lock_state, locked, ranges, ranges_digest, versions
from modules.launcher.lock_update import GROUPS, changes, lock_text
from modules.launcher.torch_build import TORCH_NEEDED, VERSION_FILE, locked_torch
from tests.launcher.conftest import ROOT

FOLDER = ROOT / "requirements"
FILES = sorted(FOLDER.glob("*.txt"))
RENEW = "run: python3 start.py lock"
COMPILED = ("numpy", "pillow", "psutil", "pydantic-core", "uvloop", "orjson", "safetensors", "regex", "uv")
"""Packages with a file for each system and Python."""


def pins(path: Path) -> dict[str, list[Requirement]]:
    """The locked versions of each package, with their markers."""
    found: dict[str, list[Requirement]] = {}
    for entry in locked(path.read_text(encoding="utf-8")):
        found.setdefault(entry.name, []).append(Requirement(entry.text.splitlines()[0].rstrip(" \\")))
    return found


def version_of(pin: Requirement) -> Version:
    return Version(next(iter(pin.specifier)).version)


def test_every_requirements_file_is_locked() -> None:
    assert {path.stem for path in FILES} == set(GROUPS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_lock_was_made_from_these_ranges_and_satisfies_them(path: Path) -> None:
    assert lock_state(path) is LockState.CURRENT, RENEW
    have = pins(lock_path(path))
    for entry in ranges(path):
        wanted = Requirement(entry.text)
        if entry.name == "torch":
            assert Version(locked_torch(path)) in wanted.specifier, RENEW
            continue
        assert entry.name in have, RENEW
        assert [str(pin) for pin in have[entry.name] if version_of(pin) not in wanted.specifier] == [], RENEW


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_locked_package_has_one_version_and_hashes(path: Path) -> None:
    for entry in locked(lock_path(path).read_text(encoding="utf-8")):
        head, *hashes = (line.rstrip(" \\") for line in entry.text.splitlines())
        assert re.match(r"[A-Za-z0-9._-]+==[^\s;*]+( ; .+)?$", head), head
        assert hashes, head
        assert [line for line in hashes if not re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}", line)] == []
        if entry.name in COMPILED:
            assert len(hashes) > 10, f"{head} has files of few systems: was the lock made from a local folder?"


def test_a_package_has_the_same_version_in_every_lock() -> None:
    seen: dict[str, set[str]] = {}
    for path in FILES:
        for name, values in pins(lock_path(path)).items():
            for pin in values:
                seen.setdefault(f"{name} for {pin.marker}", set()).add(str(pin.specifier))
    assert {name: values for name, values in seen.items() if len(values) > 1} == {}


def test_no_lock_names_where_its_files_come_from() -> None:
    """A mirror of whoever made the lock is nobody else's business, and may not be theirs to reach."""
    for path in [*FILES, *(FOLDER / "lock").iterdir()]:
        assert not re.search(r"https?://|file://|--(extra-)?index-url|--find-links", path.read_text(encoding="utf-8"))


def test_pytorch_is_locked_without_hashes_and_its_cuda_libraries_not_at_all() -> None:
    assert [entry.text for entry in ranges(FOLDER / "torch.txt")] == [TORCH_NEEDED]
    assert re.search(r"^torch==\S+$", (FOLDER / "lock" / VERSION_FILE).read_text(encoding="utf-8"), re.MULTILINE)
    for path in FILES:
        names = set(pins(lock_path(path))) - {"nvidia-ml-py"}
        assert not {name for name in names if name in ("torch", "triton") or name.startswith(("nvidia-", "cuda-"))}


def test_a_requirements_file_that_was_edited_has_an_outdated_lock(tmp_path: Path) -> None:
    file = tmp_path / "base.txt"
    file.write_text("# why\nb>=1,<2\nA==1\n")
    assert lock_state(file) is LockState.MISSING
    (tmp_path / "lock").mkdir()
    lock_path(file).write_text(lock_text(file, "a==1 \\\n    --hash=sha256:0\nb==1.5 \\\n    --hash=sha256:1\n"))
    assert lock_state(file) is LockState.CURRENT
    file.write_text("A==1\nb>=1,<2  # another reason\n")
    assert lock_state(file) is LockState.CURRENT
    (tmp_path / "more.txt").write_text("c<3\n")
    file.write_text("A==1\nb>=1,<2\n-r more.txt\n")
    assert lock_state(file) is LockState.OUTDATED
    before = ranges_digest(file)
    (tmp_path / "more.txt").write_text("c<4\n")
    assert ranges_digest(file) != before


def test_a_lock_is_read_with_its_markers_and_shown_as_changes() -> None:
    text = "numpy==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:0\nnumpy==2.0 ; sys_platform != 'win32'\n"
    assert versions(locked(text)) == {"numpy": "1.0, 2.0"}
    assert changes({"a": text}, {"a": "numpy==2.0\nuv==1\n"}) == ["numpy 1.0, 2.0 → 2.0", "uv (new) → 1"]


def test_pytorch_and_what_comes_with_it_are_left_out_of_a_lock(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("torch\n")
    names = ("torch", "triton", "nvidia-cublas", "cuda-toolkit", "nvidia-ml-py", "sympy")
    made = lock_text(tmp_path / "base.txt", "".join(f"{name}==1\n" for name in names))
    assert [entry.name for entry in locked(made)] == ["nvidia-ml-py", "sympy"]

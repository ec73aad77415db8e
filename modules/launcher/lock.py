"""Lock files: the exact versions and hashes that start.py installs for each requirements file.

requirements/lock/NAME.txt belongs to requirements/NAME.txt and holds all that NAME needs, itself and
indirectly, in pip's format with `--hash` for every file of every system. It is installed without
looking for dependencies. PyTorch is not in it (requirements/lock/torch-version.txt, modules/launcher/torch_build.py).
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MADE_FROM = "# made from: "
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INCLUDE = re.compile(r"(?:-r|--requirement)[ =]\s*(\S+)")


class LockState(enum.Enum):
    """Whether a requirements file has a lock that was made from it."""

    CURRENT = "current"
    MISSING = "missing"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of a requirements or lock file: the package's name as in PEP 503, the whole text of its entry."""

    name: str
    text: str


def lock_path(requirements: Path) -> Path:
    """The lock file of a requirements file."""
    return requirements.parent / "lock" / requirements.name


def lock_state(requirements: Path) -> LockState:
    """Whether the lock is there and was made from these ranges: people may edit a requirements file."""
    try:
        text = lock_path(requirements).read_text(encoding="utf-8")
    except FileNotFoundError:
        return LockState.MISSING
    made_from = {line.removeprefix(MADE_FROM) for line in text.splitlines() if line.startswith(MADE_FROM)}
    return LockState.CURRENT if made_from == {ranges_digest(requirements)} else LockState.OUTDATED


def ranges_digest(requirements: Path) -> str:
    """SHA-256 of the ranges a requirements file asks for, in any order, its comments left out."""
    lines = sorted(entry.text for entry in ranges(requirements))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def ranges(requirements: Path) -> tuple[Requirement, ...]:
    """The requirements of a file and of those it includes (`-r other.txt`)."""
    found: list[Requirement] = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if included := _INCLUDE.fullmatch(text):
            found += ranges(requirements.parent / included.group(1))
        elif name := _NAME.match(text):
            found.append(Requirement(normal_name(name.group()), text))
    return tuple(found)


def locked(text: str) -> tuple[Requirement, ...]:
    """The entries of a lock file, each with its hashes. A package may have several, told apart by markers."""
    entries: list[list[str]] = []
    for line in text.splitlines():
        if _NAME.match(line):
            entries.append([line])
        elif line.startswith(" ") and entries:
            entries[-1].append(line)
    return tuple(Requirement(normal_name(_NAME.match(entry[0]).group()), "\n".join(entry)) for entry in entries)  # type: ignore[union-attr]


def versions(entries: tuple[Requirement, ...]) -> Mapping[str, str]:
    """Package → its locked versions ("2.4.6, 2.5.5" where they differ between Pythons), for comparing two locks."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        pinned = re.match(r"[^=\s;]+==([^\s;\\]+)", entry.text)
        found.setdefault(entry.name, []).append(pinned.group(1) if pinned else "?")
    return {name: ", ".join(dict.fromkeys(values)) for name, values in found.items()}


def normal_name(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()

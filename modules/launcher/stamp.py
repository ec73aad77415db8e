"""The note inside .venv about what was installed there, so that a later start needs no network.

It is written last. While something is being installed it says `complete: false`; finding that at a
start means the last installation was cut off, and what it touched is checked file by file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from modules.launcher.layout import Layout
from modules.launcher.lock import lock_path, ranges_digest


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine build in place. `asked` is what the person wanted, `kind` what it came to, `why` the reason."""

    asked: str
    kind: str
    index: str
    requirement: str
    why: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """What .venv holds. `groups` maps a requirements file's name to its `digest` when installed."""

    python: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    engine: Engine | None = None
    complete: bool = False

    def with_group(self, group: str, digest: str) -> Stamp:
        return replace(self, groups={**self.groups, group: digest})


def digest(layout: Layout, group: str) -> str:
    """A hash of what one requirements file asks for and of its lock: when it changes, the group is installed anew."""
    requirements = layout.requirements(group)
    found = hashlib.sha256(ranges_digest(requirements).encode())
    if lock_path(requirements).exists():
        # Text, not bytes: a checkout on Windows may have other line ends.
        found.update(lock_path(requirements).read_text(encoding="utf-8").encode())
    return found.hexdigest()


def venv_version(venv: Path) -> str:
    """Major and minor version of the Python a virtual environment was made for, "" where there is none."""
    try:
        lines = (venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    for line in lines:
        key, _, value = line.partition("=")
        if key.strip() in ("version", "version_info"):
            return ".".join(value.strip().split(".")[:2])
    return ""


def read_stamp(path: Path) -> Stamp:
    """The stamp, or an empty one where it is missing or unreadable (then everything is installed again)."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        engine = data.get("engine")
        return Stamp(
            python=str(data["python"]),
            groups={str(key): str(value) for key, value in data["groups"].items()},
            engine=Engine(**engine) if engine else None,
            complete=data["complete"] is True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Stamp()


def write_stamp(path: Path, stamp: Stamp) -> None:
    """Replace the stamp in one step: a reader sees the old one or the new one, never half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        json.dump(asdict(stamp), out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    os.replace(name, path)

"""Processor and main memory: how much there is, and how much of it this program may use.

Inside a container the machine's memory is not ours: the limit of the control group is. Both versions of control groups
are read, with every limit on the way up, because a limit set on a parent counts too.
Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

NEEDED_BY_LLAMA = ("avx2", "fma", "f16c")
"""What llama.cpp's ready-made engine for x86 processors is built with."""

_V1_UNLIMITED = 1 << 60  # version 1 writes the largest number it can hold where there is no limit
_RECLAIMABLE = ("inactive_file", "total_inactive_file")  # cached files that make room when memory is asked for


@dataclass(frozen=True, slots=True)
class Ram:
    """Bytes this program may use, and how many of them are free. `why` names a limit below the machine's own."""

    total: int
    free: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Limit:
    limit: int
    used: int


def cores(root: Path = Path("/")) -> int:
    """Processors this program may use: physical ones as far as known, less where a container gives less."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    try:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    except OSError:
        allowed = physical
    quota = _cpu_quota(root)
    return max(1, min(physical, allowed, quota or physical))


def _cpu_quota(root: Path) -> int | None:
    """Whole processors a control group of version 2 allows, rounded up; None without a limit."""
    for folder in _folders(root, ""):
        words = _read(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            return max(1, -(-int(words[0]) // int(words[1])))
    return None


def features(root: Path = Path("/"), machine: str | None = None) -> tuple[str, ...]:
    """Instruction sets by the kernel's names ("avx2", "asimd"); () where they cannot be known."""
    text = _read(root / "proc/cpuinfo")
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    if found:
        return tuple(found.group(1).split())
    if platform.system() == "Darwin" and (machine or platform.machine()) == "arm64":
        return ("asimd", "fp16", "dotprod")  # every Apple chip has them
    return ()


def ram(root: Path = Path("/")) -> Ram:
    """Memory that can be used. Raises OSError or psutil.Error where even the machine's cannot be read."""
    machine = psutil.virtual_memory()
    total, free, why = int(machine.total), int(machine.available), ""
    for found in _limits(root):
        left = max(0, found.limit - found.used)
        if found.limit < total:
            total, why = found.limit, "A container or control group limits the memory."
        free = min(free, left)
    return Ram(total, min(free, total), why)


def _limits(root: Path) -> list[_Limit]:
    """Every memory limit on the way from this process's control group up."""
    found: list[_Limit] = []
    for folder in _folders(root, ""):
        limit = _read(folder / "memory.max").strip()
        used = _read(folder / "memory.current").strip()
        if limit.isdigit() and used.isdigit():
            found.append(_Limit(int(limit), int(used) - _cached(folder)))
    for folder in _folders(root, "memory"):
        limit = _read(folder / "memory.limit_in_bytes").strip()
        used = _read(folder / "memory.usage_in_bytes").strip()
        if limit.isdigit() and used.isdigit() and int(limit) < _V1_UNLIMITED:
            found.append(_Limit(int(limit), int(used) - _cached(folder)))
    return found


def _cached(folder: Path) -> int:
    """Bytes of file pages that count as used and can go at once; a mapped model file is among them."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in _RECLAIMABLE and value.strip().isdigit():
            return int(value)
    return 0


def _folders(root: Path, controller: str) -> list[Path]:
    """This process's folders of a control group, its own first, then up to the top. `controller` "" = version 2."""
    base = root / "sys/fs/cgroup" / controller if controller else root / "sys/fs/cgroup"
    own = ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if (controller in names.split(",")) if controller else names == "":
            own = path
    parts = [part for part in PurePosixPath(own or "/").parts if part not in ("/", "..", ".")]
    # Inside a container the path is often the host's, which is not there: its own top then is the group.
    chain = [base.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]
    return [folder for folder in chain if folder.is_dir()]


def _read(path: Path) -> str:
    """A small text file of the system, "" where it is not there or not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

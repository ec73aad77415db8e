"""Counts how often the Linux kernel killed a process because memory ran out (OOM killer)."""

from __future__ import annotations

import re
from pathlib import Path

_VMSTAT, _OWN_CGROUP, _CGROUPS = Path("/proc/vmstat"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


class OomKills:
    """Whether the kernel killed a process for want of memory since this was made."""

    def __init__(self) -> None:
        self._before = oom_kills()

    def happened(self) -> bool | None:
        """None where nobody counts."""
        now = oom_kills()
        return None if now is None or self._before is None else now > self._before


def oom_kills(vmstat: Path = _VMSTAT, own: Path = _OWN_CGROUP, cgroups: Path = _CGROUPS) -> int | None:
    """Kills so far, of the machine and of this process's control group (container); None where nobody counts.

    Sources: Documentation/admin-guide/cgroup-v2.rst (memory.events), cgroup-v1/memory.rst (memory.oom_control).
    """
    files = [vmstat, cgroups / "memory.events", cgroups / "memory/memory.oom_control"]
    for line in _text(own).splitlines():
        if line.startswith("0::/") and line != "0::/":
            files.append(cgroups / line[4:] / "memory.events")
    counts = [int(match[1]) for file in files if (match := _COUNT.search(_text(file)))]
    return sum(counts) if counts else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

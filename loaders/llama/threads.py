"""How many processor threads an engine gets when nobody says."""

from __future__ import annotations

import os

import psutil


def processor_threads(wanted: int) -> int:
    """`wanted`, or for 0 one per core this process may use: two threads of one core only wait for one another."""
    if wanted:
        return wanted
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))

"""What a llama.cpp server answers to /lora-adapters: its adapters by name, in the order of their numbers.

Adapters come with the start of the server; requests name them by number. Source: llama.cpp, tools/server/README.md,
"GET /lora-adapters".
"""

from __future__ import annotations

from collections import Counter
from pathlib import PureWindowsPath
from typing import Any

from loaders.served.probe_http import finite

ROUTE = "/lora-adapters"
_LONGEST = 120


def adapters_of(answer: Any) -> dict[str, float]:
    """Name → strength the server uses it with by itself; the place of a name is its number in a request.

    A name is that of the adapter's file, without folders; of two with the same name each has its number behind it.
    Raises ValueError for an answer that is none.
    """
    if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
        raise ValueError("no list of adapters")
    rows = sorted(answer, key=lambda one: _number(one, "id"))
    if [_number(one, "id") for one in rows] != list(range(len(rows))):
        raise ValueError("the adapters are not numbered from 0 on")
    names = [_name(one) for one in rows]
    counts = Counter(names)
    shown = [name if counts[name] == 1 else f"{name}#{number}" for number, name in enumerate(names)]
    if len(set(shown)) != len(shown):
        raise ValueError("two adapters with the same name")
    return {name: _number(one, "scale") for name, one in zip(shown, rows, strict=True)}


def _name(row: dict[str, Any]) -> str:
    """The file's name; the server may run on another system, so both kinds of path are understood."""
    stem = PureWindowsPath(str(row.get("path") or "")).name.removesuffix(".gguf")
    return "".join(char for char in stem if char.isprintable())[:_LONGEST] or "adapter"


def _number(row: dict[str, Any], name: str) -> float:
    value = row.get(name)
    if not finite(value):
        raise ValueError(f"an adapter without {name}")
    return float(value)

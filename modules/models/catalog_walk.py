"""Walks a models folder and says which files and folders make up one model each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_DEPTH = 8
MAX_ENTRIES = 50_000
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_UNFINISHED = (".part", ".crdownload", ".download", ".incomplete", ".aria2", ".tmp")
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """What looks like one model.

    name    path below the models folder with "/" between, without the ending and the number of the part
    path    the file to open: the first part, or the folder
    parts   every file of it, in order
    format  "gguf", "safetensors" (a Hugging Face folder) or "pickle"
    missing part numbers from 1 that a split model lacks
    """

    name: str
    path: Path
    parts: tuple[Path, ...]
    format: str
    missing: tuple[int, ...] = ()
    unfinished: bool = False


def printable(name: str) -> str:
    """A name that can be sent: file names on Linux need not be UTF-8, and Python keeps the rest as half surrogates."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def walk(root: Path) -> Iterator[Found]:
    """Every model below `root`, sorted by folder. Links are followed, each folder once; hidden ones are not read."""
    left = MAX_ENTRIES
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        depth = len(here.relative_to(root).parts)
        subfolders[:] = sorted(name for name in subfolders if depth < MAX_DEPTH and _is_new(here / name, seen))
        files = sorted(name for name in files if not name.startswith("."))[:left]
        left -= len(files)
        if left <= 0:
            subfolders.clear()
        yield from _folder(root, here, files)


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder is to be read: not hidden, and not one that a link led to before."""
    if folder.name.startswith((".", "__")):
        return False
    try:
        found = folder.stat()
    except OSError:
        return False
    mark = (found.st_dev, found.st_ino)
    if mark in seen and found.st_ino:
        return False
    seen.add(mark)
    return True


def _folder(root: Path, here: Path, files: list[str]) -> Iterator[Found]:
    below = here.relative_to(root).as_posix()
    prefix = "" if below == "." else below + "/"
    if "config.json" in files and prefix:
        weights = [name for name in files if name.endswith(".safetensors")]
        pickles = [name for name in files if name.endswith(PICKLES)]
        if weights or pickles:
            kind = "safetensors" if weights else "pickle"
            yield Found(printable(below), here, tuple(here / name for name in weights or pickles), kind)
            files = [name for name in files if name.lower().endswith(".gguf")]
    splits: dict[tuple[str, int], dict[int, str]] = {}
    for name in files:
        match = _SPLIT.fullmatch(name)
        if match:
            splits.setdefault((match["stem"], int(match["count"])), {})[int(match["number"])] = name
        elif name.lower().endswith(".gguf"):
            unfinished = any(name + ending in files for ending in _UNFINISHED)
            yield Found(printable(prefix + name[:-5]), here / name, (here / name,), "gguf", unfinished=unfinished)
        elif name.endswith(PICKLES[1:]):
            yield Found(printable(prefix + name.rsplit(".", 1)[0]), here / name, (here / name,), "pickle")
    for (stem, count), parts in splits.items():
        ordered = [parts[number] for number in sorted(parts)]
        missing = tuple(number for number in range(1, min(count, 1000) + 1) if number not in parts)
        unfinished = any(name + ending in files for name in ordered for ending in _UNFINISHED)
        paths = tuple(here / name for name in ordered)
        yield Found(printable(prefix + stem), paths[0], paths, "gguf", missing, unfinished)

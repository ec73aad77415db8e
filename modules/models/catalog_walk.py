"""Walks a models folder and says which files and folders make up one entry each. What they are, their content says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.formats.adapter import CONFIG as ADAPTER_CONFIG
from modules.formats.detect import SPLIT
from modules.formats.endpoint import ENDING as ENDPOINT
from modules.formats.foreign import FOREIGN, is_piece
from modules.formats.hf_folder import NO_WEIGHTS_OF_PICKLES, PICKLES, READ_FILES
from modules.formats.pipeline_folder import is_pipeline, part_folders

MAX_DEPTH = 8
MAX_ENTRIES = 50_000
LOOSE = (
    ".gguf", ".safetensors", *PICKLES, ".ggml", ".onnx", ".engine", ".plan", ".h5", ".llamafile",
    *FOREIGN, ".npz", ".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".xz", ".zst", ".bz2",
)  # fmt: skip
"""Endings of single files that are looked into."""
UNFINISHED = (".part", ".crdownload", ".download", ".incomplete", ".aria2", ".tmp")
_WEIGHTS = (".safetensors", *PICKLES, ".onnx", ".engine", ".plan", ".h5", ".msgpack")
_MODEL_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "generation_config.json",
                "model.safetensors.index.json", "pytorch_model.bin.index.json")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """What looks like one model, or something that goes with one.

    name    path below the models folder with "/" between, without the ending and the number of the part
    path    the file to open: the first part, or the folder
    parts   every file of it, in order
    also    further files that decide what a folder is
    unfinished  a download tool still works on it
    silent      it is a model only if its content says so: its name has an ending that anything may have, or none
    """

    name: str
    path: Path
    parts: tuple[Path, ...]
    also: tuple[Path, ...] = ()
    unfinished: bool = False
    silent: bool = False


def printable(name: str) -> str:
    """A name that can be sent: file names on Linux need not be UTF-8, and Python keeps the rest as half surrogates."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def walk(root: Path) -> Iterator[Found]:
    """Every model below `root`, sorted by folder. Links are followed, each folder once; hidden ones are not read.

    What lies below a model's own folder belongs to that model, but for GGUF files and further model folders.
    """
    left = MAX_ENTRIES
    seen: set[tuple[int, int]] = set()
    owned: set[Path] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        depth = len(here.relative_to(root).parts)
        files = sorted(name for name in files if not name.startswith("."))[:left]
        is_pipe = depth > 0 and "model_index.json" in files and is_pipeline(here)
        if depth and ("model_index.json" in files or "modules.json" in files):
            parts = part_folders(here)  # they look like models of their own
            subfolders[:] = [name for name in subfolders if name not in parts]
        subfolders[:] = sorted(name for name in subfolders if depth < MAX_DEPTH and _is_new(here / name, seen))
        left -= len(files)
        if left <= 0:
            subfolders.clear()
        is_folder = is_pipe or (depth > 0 and is_model_folder(files))
        if is_folder or here in owned:
            owned.update(here / name for name in subfolders)
        if is_folder:
            yield _model_folder(root, here, files)
        free = not is_folder and here not in owned
        yield from _loose(root, here, [name for name in files if free or name.lower().endswith(".gguf")], files)


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


def is_model_folder(files: Sequence[str]) -> bool:
    """Whether a folder with these files is one model rather than a place where files lie."""
    if ADAPTER_CONFIG in files:
        return True
    if "config.json" not in files:
        return False
    if any(_is_weights(name) for name in files):
        return True
    return not any(name.lower().endswith(".gguf") for name in files) and any(name in files for name in _MODEL_FILES)


def _is_weights(name: str) -> bool:
    return name.endswith(_WEIGHTS) and not NO_WEIGHTS_OF_PICKLES.match(name)


def _model_folder(root: Path, here: Path, files: Sequence[str]) -> Found:
    weights = tuple(here / name for name in files if _is_weights(name))
    also = (here, *(here / name for name in READ_FILES if name in files))  # its own time changes with its list
    unfinished = any(name.endswith(UNFINISHED) and _is_weights(name.rsplit(".", 1)[0]) for name in files)
    return Found(printable(here.relative_to(root).as_posix()), here, weights, also, unfinished)


def _loose(root: Path, here: Path, files: Sequence[str], around: Sequence[str]) -> Iterator[Found]:
    """The single and split files among `files`; `around` are all of the folder."""
    below = here.relative_to(root).as_posix()
    prefix = "" if below == "." else below + "/"
    there = frozenset(around)
    splits: dict[tuple[str, str, str], list[str]] = {}
    for name in files:
        lowered = name.lower()
        if match := SPLIT.fullmatch(name):
            splits.setdefault((match["stem"], match["count"], match["ending"].lower()), []).append(name)
        elif lowered.endswith(ENDPOINT):
            yield Found(printable(prefix + name[: -len(ENDPOINT)]), here / name, (here / name,))
        elif is_piece(name) or "." not in name:
            yield Found(printable(prefix + name), here / name, (here / name,), silent="." not in name)
        elif lowered.endswith(LOOSE) and not NO_WEIGHTS_OF_PICKLES.match(name):
            unfinished = any(name + ending in there for ending in UNFINISHED)
            stem = name.rsplit(".", 1)[0].removesuffix(".tar")
            yield Found(printable(prefix + stem), here / name, (here / name,), (), unfinished, lowered.endswith(".bin"))
    for (stem, _, _), parts in splits.items():
        unfinished = any(name + ending in there for name in parts for ending in UNFINISHED)
        paths = tuple(here / name for name in sorted(parts))
        yield Found(printable(prefix + stem), paths[0], paths, unfinished=unfinished)

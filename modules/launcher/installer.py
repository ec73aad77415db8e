"""Putting packages into .venv: through uv where it is on PATH, else pip; and asking pip what it knows."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.launcher.console import Console, StepFailed
from modules.launcher.layout import Layout
from modules.launcher.pip_progress import PipProgress
from modules.launcher.tool import Answer, Ended, ask, follow

QUERY_TIMEOUT_S = 120.0
WHEEL_QUERY_TIMEOUT_S = 1200.0
DETAIL_LINES = 8


@dataclass(frozen=True, slots=True)
class WheelLink:
    """Where a wheel can be had, and the hash its index gives for it ("" where it gives none)."""

    url: str
    sha256: str


class Installer:
    """Installs into one environment. pip's and uv's own settings (index, proxy, certificates) are honoured."""

    def __init__(self, layout: Layout, console: Console, environ: Mapping[str, str] = os.environ) -> None:
        self._layout = layout
        self._console = console
        self._environ = dict(environ)
        self.uv = shutil.which("uv", path=self._environ.get("PATH")) or ""

    def has_pip(self) -> bool:
        return ask([str(self._layout.python), "-m", "pip", "--version"], env=self._env(), timeout=60).ok

    def free_bytes(self) -> int:
        """Room on the disk of the environment."""
        return shutil.disk_usage(self._layout.venv).free

    def install_file(self, requirements: Path, *, extra: Sequence[str] = ()) -> None:
        """Install a requirements file. Raises StepFailed with the tool's last lines."""
        shown = requirements.relative_to(self._layout.root).as_posix()
        if self.uv and not extra:
            self._console.say(f"Installing {shown} with uv …")
            target = ["--python", str(self._layout.python)]
            ended = self._follow([self.uv, "pip", "install", *target, "-r", str(requirements)])
            if ended.code == 0:
                return
            # uv does not read pip's settings (a mirror, say), so pip may well succeed where it does not.
            self._console.say(f"  uv did not manage ({ended.last()}); trying with pip")
        self._console.say(f"Installing {shown} with pip …")
        ended = self.pip_install(["-r", str(requirements), *extra])
        if ended.code != 0:
            raise self._failure(f"installing {shown}", ended)

    def pip_install(self, arguments: Sequence[str], *, env: Mapping[str, str] | None = None) -> Ended:
        """`pip install` with these arguments, progress shown; the caller judges the exit code."""
        return self._follow(self._pip("install", "--progress-bar", "off", *arguments), env=env)

    def pip_download(self, requirement: str, folder: Path) -> Ended:
        """Have pip fetch one wheel into a folder, for sources that need pip's own ways to log in."""
        place = ["--no-deps", "--dest", str(folder)]
        return self._follow(self._pip("download", "--progress-bar", "off", *place, requirement))

    def find_wheel(self, package: str, version: str) -> WheelLink:
        """Ask pip for the address of a wheel, without fetching it. Raises StepFailed where it is not to be had.

        `pip index versions` tells the links it considers when it is verbose. `pip install --dry-run
        --report` tells them too, but downloads the whole wheel for it (pip 23 and 26), so it is asked only
        where the first answer holds no link.
        """
        requirement = f"{package}=={version}"
        answer = self._query("index", "versions", package, "-vv")
        for line in answer.text.splitlines():
            match = re.match(r"\s*Found link (\S+?\.whl)(?:#sha256=([0-9a-f]{64}))?[#\s].*version: (\S+)$", line)
            if match and match.group(3) == version:
                return WheelLink(match.group(1), match.group(2) or "")
        answer = self._query(
            "install", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", ":all:",
            "--quiet", "--report", "-", requirement, timeout=WHEEL_QUERY_TIMEOUT_S,
        )  # fmt: skip
        if not answer.ok:
            raise StepFailed(
                f"looking for {requirement}",
                "pip could not find it (no network, or the package index lacks it)",
                detail=answer.text.strip().splitlines()[-DETAIL_LINES:],
            )
        try:
            found = json.loads(answer.text)["install"][0]["download_info"]
            digest = found.get("archive_info", {}).get("hash", "").removeprefix("sha256=")
            return WheelLink(str(found["url"]), str(digest))
        except (ValueError, KeyError, IndexError, AttributeError) as error:
            raise StepFailed(f"looking for {requirement}", f"pip's answer could not be read ({error})") from error

    def settings(self) -> dict[str, str]:
        """pip's settings by short name ("proxy", "cert", …), its environment variables included."""
        found = {}
        for line in self._query("config", "list").text.splitlines():
            match = re.match(r"[^=]*?([\w-]+)=['\"](.*)['\"]$", line.strip())
            if match:
                found[match.group(1)] = match.group(2)
        return found

    def versions(self, package: str, *extra: str, env: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Versions of a package that pip could install here, newest first; () where the index does not answer."""
        answer = self._query("index", "versions", package, "--retries", "1", "--timeout", "15", *extra, env=env)
        match = re.search(r"Available versions: (.+)", answer.text) if answer.ok else None
        return tuple(part.strip() for part in match.group(1).split(",")) if match else ()

    def nothing_but(self, index: str) -> dict[str, str]:
        """Environment variables that keep every other source of the person's pip settings out.

        Beside `--index-url`, pip would go on looking in the extra indexes and folders it is set up with. An
        empty variable counts as none, so they are overridden by the same index and by an empty folder.
        """
        empty = self._layout.venv / "no-wheels"
        empty.mkdir(exist_ok=True)
        return {"PIP_EXTRA_INDEX_URL": index, "PIP_FIND_LINKS": str(empty)}

    def python(self, code: str, timeout: float = 120.0) -> Answer:
        """Run a line of Python inside the environment."""
        return ask([str(self._layout.python), "-c", code], env=self._env(), timeout=timeout)

    def _pip(self, *arguments: str) -> list[str]:
        return [str(self._layout.python), "-m", "pip", *arguments]

    def _query(self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = QUERY_TIMEOUT_S) -> Answer:
        return ask(self._pip(*arguments), env=self._env(env), timeout=timeout)

    def _env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        # PYTHONHOME or PYTHONPATH of the outer world would leak other packages into the environment.
        env = {key: value for key, value in self._environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}
        env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PYTHONUNBUFFERED": "1"}
        return env | dict(extra or {})

    def _follow(self, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Ended:
        progress = PipProgress()

        def on_line(line: str) -> None:
            progress.take(line)
            self._console.progress(progress.text)

        def on_wait(seconds: float) -> None:
            self._console.progress(f"{progress.text} ({seconds:.0f} s)")

        try:
            return follow(command, on_line=on_line, on_wait=on_wait, env=self._env(env), log=self._layout.log)
        except OSError as error:
            return Ended(127, (str(error),))

    def _failure(self, step: str, ended: Ended) -> StepFailed:
        silent = "a package index did not answer (no network? pip's index or proxy settings?); "
        begin = silent if ended.unanswered() else ""
        return StepFailed(
            step,
            f"{begin}pip ended with code {ended.code}; its whole output is in {self._layout.log}",
            detail=ended.telling(),
        )

"""Putting packages into .venv: from the lock, with uv or else pip; and asking pip what it knows."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modules.launcher.console import Console, StepFailed
from modules.launcher.layout import Layout
from modules.launcher.lock import LockState, lock_path, lock_state, locked, normal_name, ranges
from modules.launcher.pip_progress import PipProgress
from modules.launcher.proxies import unusable_proxies, usable_environ
from modules.launcher.tool import Answer, Ended, ask, follow
from modules.launcher.uv import LIMITS, NO_UV, OWN_SOURCES, locked_version, uv_environ, uv_path

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
        self._ignored_proxies = unusable_proxies(environ)
        self._environ = usable_environ(environ)
        self.system_uv = shutil.which("uv", path=self._environ.get("PATH")) or ""
        """A uv that is on PATH, "" without one. Packages are installed by the locked one."""

    def has_pip(self) -> bool:
        return ask([str(self._layout.python), "-m", "pip", "--version"], env=self._env(), timeout=60).ok

    def requirements(self, group: str) -> Path:
        """The requirements file of this name."""
        return self._layout.requirements(group)

    def free_bytes(self) -> int:
        """Room on the disk of the environment."""
        return shutil.disk_usage(self._layout.venv).free

    def install_file(
        self, requirements: Path, *, extra: Sequence[str] = (), only: str = "", use_lock: bool = True
    ) -> None:
        """Install what a requirements file asks for, from its lock where there is one. Raises StepFailed.

        extra     further arguments for pip, which then does it
        only      the one package of the file to install, without what it needs
        use_lock  False = from the ranges, for files that are in no lock (a build of another index)
        """
        shown, arguments = self._arguments(requirements, only, use_lock)
        if not extra and (uv := self._uv):
            self._console.say(f"Installing {shown} with uv …")
            target = ["--python", str(self._layout.python), "--compile-bytecode"]
            settings = uv_environ(self.settings(), self._environ, LIMITS if "--require-hashes" in arguments else ())
            ended = self._follow([uv, "pip", "install", *target, *arguments], env=settings)
            if ended.code == 0:
                return
            # A source that only pip can use (a login by keyring, say): it may well succeed.
            self._console.say(f"  uv did not manage ({ended.last()}); trying with pip")
        self._console.say(f"Installing {shown} with pip …")
        ended = self.pip_install([*arguments, *extra])
        if ended.code != 0:
            raise self._failure(f"installing {shown}", ended)

    def _arguments(self, requirements: Path, only: str, use_lock: bool) -> tuple[str, list[str]]:
        """The file as it is shown, and pip's and uv's arguments for it; says so where the ranges are taken."""
        shown = requirements.relative_to(self._layout.root).as_posix()
        state = lock_state(requirements)
        if state is LockState.OUTDATED and use_lock:
            self._console.say(f"{shown} was changed after its lock was made, so the newest versions it allows are")
            self._console.say("  installed (python3 start.py lock makes a new lock).")
        from_lock = state is LockState.CURRENT and use_lock
        file = lock_path(requirements) if from_lock else requirements
        shown = file.relative_to(self._layout.root).as_posix()
        if only:
            entries = locked(file.read_text(encoding="utf-8")) if from_lock else ranges(file)
            file = self._layout.venv / f"only-{only}.txt"
            file.write_text("\n".join(entry.text for entry in entries if entry.name == normal_name(only)) + "\n")
        return shown, ["-r", str(file), *(["--no-deps", "--require-hashes"] if from_lock else [])]

    @cached_property
    def _uv(self) -> str:
        """The program of the locked uv, brought in where it is missing; "" where pip has to do (which is said)."""
        requirements = self._layout.requirements("uv")
        version = locked_version(requirements)
        if not version or self._environ.get(NO_UV):
            return ""
        program = str(uv_path(self._layout.venv))
        if self._is_uv(program, version):
            return program
        self._console.say(f"Fetching uv {version}, which installs the packages …")
        lock = ["--no-deps", "--require-hashes", "--retries", "1", "-r", str(lock_path(requirements))]
        ended = self.pip_install(lock)
        if ended.code == 0 and self._is_uv(program, version):
            return program
        why = "it does not run on this machine" if ended.code == 0 else ended.last()
        self._console.say(f"  No uv: {why}")
        self._console.say("  pip installs the packages instead, which takes longer.")
        return ""

    def _is_uv(self, program: str, version: str) -> bool:
        answer = ask([program, "--version"], env=self._env(), timeout=30)
        return answer.ok and answer.text.split()[1:2] == [version]

    def run_uv(self, arguments: Sequence[str]) -> Ended:
        """Run the locked uv, or before there is a lock the one on PATH, with pip's default index alone.

        Raises StepFailed without a uv.
        """
        program = self._uv or self.system_uv
        if not program:
            raise StepFailed("starting uv", "neither the locked uv nor another one on PATH could be started")
        return self._follow([program, *arguments], env=uv_environ(self.settings(), self._environ, OWN_SOURCES))

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
        self._say_ignored_proxies()
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
        self._say_ignored_proxies()
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

    def _say_ignored_proxies(self) -> None:
        """Once, when something is about to be downloaded."""
        if self._ignored_proxies:
            names = ", ".join(self._ignored_proxies)
            self._console.say(f"Note: {names} is not the address of an HTTP proxy, the only kind pip can use, and is")
            self._console.say("      ignored. Where downloads need a proxy: https_proxy=http://HOST:PORT")
            self._ignored_proxies = ()

    def _failure(self, step: str, ended: Ended) -> StepFailed:
        silent = "a package index did not answer (no network? pip's index or proxy settings?); "
        begin = silent if ended.unanswered() else ""
        return StepFailed(
            step,
            f"{begin}pip ended with code {ended.code}; its whole output is in {self._layout.log}",
            detail=ended.telling(),
        )

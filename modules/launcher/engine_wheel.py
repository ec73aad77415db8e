"""Putting the chosen build of the engine into .venv, and falling back to the CPU build where that fails."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping

from modules.launcher.accelerator import CPU, ENGINE_INDEX, EngineBuild, choose_engine, missing_avx2
from modules.launcher.chosen import Chosen
from modules.launcher.console import Console, StepFailed
from modules.launcher.installer import Installer
from modules.launcher.layout import Layout
from modules.launcher.machine import Machine
from modules.launcher.stamp import Engine
from modules.launcher.tool import Answer

PACKAGE = "xllamacpp"
# One line on standard output: the devices the build sees. Older builds cannot list them.
PROBE = (
    f"import json, {PACKAGE} as engine; look = getattr(engine, 'get_device_info', list); "
    "print('DEVICES ' + json.dumps([d.get('description') or d.get('name') for d in look() "
    "if 'CPU' not in str(d.get('name'))]))"
)


def pinned(layout: Layout) -> str:
    """The engine's line in requirements/base.txt, which alone names its version."""
    text = layout.requirements("base").read_text(encoding="utf-8")
    match = re.search(rf"^{PACKAGE}==\S+", text, re.MULTILINE)
    if not match:
        raise StepFailed("reading requirements/base.txt", f"it has no line {PACKAGE}==…")
    return match.group()


def wanted(recorded: Engine | None, asked: str, requirement: str) -> str:
    """What to look for now: "" = what is installed is right, else "auto" or a kind.

    A fallback to CPU is remembered with the rest, so it is not tried again at each start; a new engine
    version or `--engine` starts over.
    """
    if recorded is None:
        return asked or "auto"
    if recorded.requirement != requirement:
        return asked or recorded.asked
    if asked == "auto" or (asked and asked != recorded.asked):
        return asked
    return ""


class EngineInstaller:
    """Installs one build, checks that it loads, and says what came of it."""

    def __init__(self, layout: Layout, installer: Installer, console: Console, environ: Mapping[str, str]) -> None:
        self._requirement = pinned(layout)
        self._base = layout.requirements("base")
        self._installer = installer
        self._console = console
        self._root = environ.get("ENGINEHOUSE_ENGINE_INDEX", "").rstrip("/") or ENGINE_INDEX

    def install(self, machine: Machine, asked: str, recorded: Engine | None) -> Engine:
        """Install the build that fits, or leave the CPU build to requirements/base.txt.

        Raises StepFailed only where a build that has to go cannot be replaced by the CPU build.
        """
        warning = missing_avx2(machine)
        if warning:
            self._console.say(f"Note: {warning}")
        chosen = choose_engine(machine, asked)
        self._console.say(f"Engine build: {chosen.value.kind} ({chosen.why})")
        # A GPU build in place has the version number of the CPU build: pip would see nothing to do.
        replace = recorded is not None and bool(recorded.index)
        if chosen.value.index:
            problem = self._install_gpu(chosen.value)
            if problem:
                replace = True
                chosen = Chosen(CPU, f"the {chosen.value.kind} build was not taken: {problem}")
                self._console.say(f"  {chosen.why}.")
                self._console.say("  Taking the CPU build; python3 start.py --engine auto tries again.")
        if not chosen.value.index and replace:
            self._replace_by_default()
        return Engine(asked, chosen.value.kind, chosen.value.index, self._requirement, chosen.why)

    def check(self, build_kind: str) -> None:
        """After all is installed: tell the GPUs the build sees, or that it does not start."""
        answer = self._installer.python(PROBE)
        if not answer.ok:
            self._console.say(f"Note: the engine does not load ({_reason(answer)}). GGUF models will not run.")
            return
        devices = _devices(answer.text)
        if devices:
            self._console.say(f"  The engine sees: {', '.join(devices)}")
        elif build_kind not in ("cpu", "metal"):
            self._console.say(f"Note: the {build_kind} build sees no GPU and will run on the processor.")

    def _install_gpu(self, build: EngineBuild) -> str:
        """Install from the engine's own index. Returns "" or what went wrong, in words."""
        index = f"{self._root}/{build.index}"
        # The GPU and CPU builds share one version number, so no other source may take part.
        only = self._installer.nothing_but(index)
        found = self._installer.versions(PACKAGE, "--index-url", index, env=only)
        if not found:
            return f"its index {index} does not answer, or has no build for this Python and system"
        if self._requirement.partition("==")[2] not in found:
            return f"its index {index} has no {self._requirement} for this Python and system (newest: {found[0]})"
        ended = self._installer.pip_install(
            ["--no-deps", "--force-reinstall", "--index-url", index, self._requirement], env=only
        )
        if ended.code != 0:
            return f"pip ended with code {ended.code}: {ended.last()}"
        answer = self._installer.python(PROBE)
        return "" if answer.ok else f"it was installed but does not load ({_reason(answer)})"

    def _replace_by_default(self) -> None:
        self._installer.install_file(self._base, extra=["--no-deps", "--force-reinstall"], only=PACKAGE)


def _devices(text: str) -> list[str]:
    for line in text.splitlines():
        if line.startswith("DEVICES "):
            return [str(name) for name in json.loads(line.removeprefix("DEVICES "))]
    return []


def _reason(answer: Answer) -> str:
    if os.name == "posix" and answer.code == -signal.SIGILL:
        return "this processor lacks an instruction it uses, most likely AVX2"
    if answer.code < 0:
        return f"it was ended by signal {-answer.code}"
    lines = answer.text.strip().splitlines()
    return lines[-1] if lines else f"exit code {answer.code}"

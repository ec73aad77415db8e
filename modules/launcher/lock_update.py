"""`start.py lock`: newer versions into requirements/lock, kept if the suite passes with them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from modules.launcher.console import Console, StepFailed
from modules.launcher.extras import LOADERS
from modules.launcher.installer import Installer
from modules.launcher.layout import Layout
from modules.launcher.lock import MADE_FROM, lock_path, locked, normal_name, ranges, ranges_digest, versions
from modules.launcher.torch_build import CPU, TORCH_NEEDED, VERSION_FILE, cpu_versions

GROUPS = ("uv", "base", "dev", "torch", *LOADERS)
STEP = "making the lock"
HEAD = """\
# Made by `python3 start.py lock`: change requirements/{name}.txt, not this file.
"""
TORCH_HEAD = """\
# The version of PyTorch that the suite was run with. Made by `python3 start.py lock`.
# Without hashes: it has other files on each of its indexes, one of which is chosen for the machine.
"""


class LockUpdate:
    """Makes all lock files anew, together, so that a package has one version in all of them."""

    def __init__(self, layout: Layout, installer: Installer, console: Console) -> None:
        self._layout = layout
        self._installer = installer
        self._console = console
        self._folder = lock_path(layout.requirements("base")).parent

    def run(self, packages: Sequence[str], suite_passes: Callable[[], bool]) -> bool:
        """Make the lock, run the suite, keep the lock or bring the former one back. Whether it is kept.

        packages      the ones to renew, with what they need; none = all
        suite_passes  installs what is locked and runs the suite
        Raises StepFailed.
        """
        new = self.resolve(packages)
        old = self._present()
        if new == old:
            self._console.say("The lock is up to date.")
            return True
        for line in changes(old, new):
            self._console.say(f"  {line}")
        kept = False
        try:
            self._write(new)
            kept = suite_passes()
        finally:  # a step that failed, and Ctrl+C, bring the former files back too
            if not kept:
                self._write(old)
                self._console.say("The former lock files are back; the next start installs what they name.")
        if kept:
            self._console.say("The new lock is kept: commit requirements/lock.")
        return kept

    def resolve(self, packages: Sequence[str] = ()) -> dict[str, str]:
        """The text of each lock file, by file name."""
        torch = self._torch_version(packages)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            pin = folder / "torch.in"
            pin.write_text(f"torch=={torch}\n", encoding="utf-8")
            together = folder / "together.txt"
            options = ["--upgrade"]
            if packages:
                together.write_text(_pins("\n".join(self._present().values())), encoding="utf-8")
                options = [word for package in packages for word in ("--upgrade-package", package)]
            self._console.say("Looking for versions that fit together …")
            files = [str(self._layout.requirements(group)) for group in GROUPS]
            self._compile([*files, "-c", str(pin), *options], together)
            pins = folder / "pins.txt"
            pins.write_text(_pins(together.read_text(encoding="utf-8")), encoding="utf-8")
            made = {VERSION_FILE: f"{TORCH_HEAD}torch=={torch}\n"}
            for group in GROUPS:
                out = folder / f"{group}.txt"
                self._compile([str(self._layout.requirements(group)), "-c", str(pins), "--generate-hashes"], out)
                made[out.name] = lock_text(self._layout.requirements(group), out.read_text(encoding="utf-8"))
        return made

    def _torch_version(self, packages: Sequence[str]) -> str:
        """The newest that has a build for the processor, which is the one the suite is run with."""
        present = versions(locked(self._present().get(VERSION_FILE, ""))).get("torch", "")
        if packages and present and "torch" not in packages:
            return present
        only = self._installer.nothing_but(CPU.index)
        offered = self._installer.versions("torch", "--index-url", CPU.index, env=only)
        own = offered or cpu_versions(self._installer)
        if own:
            return own[0].partition("+")[0]
        if not present:
            raise StepFailed(STEP, f"no build of PyTorch for the processor was found: {CPU.index} does not answer")
        self._console.say(f"{CPU.index} does not answer, so torch stays at {present}.")
        return present

    def _compile(self, arguments: Sequence[str], out: Path) -> None:
        ended = self._installer.run_uv(
            ["pip", "compile", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate",
             "--no-emit-index-url", "--no-emit-find-links", "--quiet", *arguments, "--output-file", str(out)]
        )  # fmt: skip
        if ended.code != 0:
            raise StepFailed(STEP, f"uv found no versions that fit together ({TORCH_NEEDED})", detail=ended.telling())

    def _present(self) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(self._folder.glob("*.txt"))}

    def _write(self, texts: Mapping[str, str]) -> None:
        self._folder.mkdir(exist_ok=True)
        for path in self._folder.glob("*.txt"):
            if path.name not in texts:
                path.unlink()
        for name, text in texts.items():
            (self._folder / name).write_text(text, encoding="utf-8", newline="\n")


def lock_text(requirements: Path, compiled: str) -> str:
    """The lock file of a requirements file, from uv's answer: PyTorch and its CUDA libraries are left out."""
    entries = [entry.text for entry in locked(compiled) if not _comes_with_torch(entry.name)]
    head = HEAD.format(name=requirements.stem) + MADE_FROM + ranges_digest(requirements)
    return "\n".join([head, *entries]) + "\n"


def _comes_with_torch(name: str) -> bool:
    """PyTorch itself, and the libraries that its CUDA builds name by exact version."""
    return name in ("torch", "triton") or (name.startswith(("nvidia-", "cuda-")) and name != "nvidia-ml-py")


def _pins(text: str) -> str:
    """The lines of lock files without their hashes, each once."""
    lines = [entry.text.splitlines()[0].rstrip("\\ ") for entry in locked(text)]
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What is different, a line for each package: "numpy 2.4.6 → 2.5.0"."""
    before, after = (versions(locked(_pins("\n".join(texts.values())))) for texts in (old, new))
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return [f"{name} {before.get(name, '(new)')} → {after.get(name, '(gone)')}" for name in names]


def check_packages(layout: Layout, packages: Sequence[str]) -> None:
    """Raise StepFailed for a name that is neither asked for nor locked."""
    known = {entry.name for group in GROUPS for entry in ranges(layout.requirements(group))}
    for path in lock_path(layout.requirements("base")).parent.glob("*.txt"):
        known |= {entry.name for entry in locked(path.read_text(encoding="utf-8"))}
    for package in packages:
        if normal_name(package) not in known:
            raise StepFailed("reading the command line", f"no requirements file asks for {package}")

"""The environment as a whole: what is recorded, what is missing, in which order it is brought in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from modules.launcher import venv
from modules.launcher.console import Console, StepFailed, megabytes
from modules.launcher.engine_wheel import PACKAGE, EngineInstaller, pinned, wanted
from modules.launcher.extras import LOADERS, install_loader
from modules.launcher.installer import Installer
from modules.launcher.layout import Layout
from modules.launcher.machine import Machine, look
from modules.launcher.stamp import Stamp, digest, read_stamp, venv_version, write_stamp

ROOM_FOR_PACKAGES = 1_200_000_000


class Environment:
    """Brings .venv to what is asked for and records it. Where the record matches, nothing is run or asked."""

    def __init__(self, layout: Layout, console: Console) -> None:
        self._layout = layout
        self._console = console
        self.installer = Installer(layout, console)

    @cached_property
    def machine(self) -> Machine:
        return look()

    def ensure(self, groups: Sequence[str], engine: str, *, check: bool = False) -> None:
        """Have these requirement groups and the engine installed, and loaders added earlier kept. Raises StepFailed.

        groups  names of files in requirements/, "base" among them
        engine  "" = what is recorded, or the one that fits if none is; "auto" = look again; or a kind
        check   do not rely on the record: look at the files themselves
        """
        if not check and self._is_current(groups, engine):
            return
        with venv.held(self._layout, self._console):
            if not check and self._is_current(groups, engine):
                return  # the launcher we waited for has done it
            stamp = self._prepare(check)
            self._check_room(stamp)
            write_stamp(self._layout.stamp, replace(stamp, complete=False))
            stamp = self._install_engine(stamp, engine)
            for group in dict.fromkeys([*groups, *stamp.groups]):
                stamp = self._bring(stamp, group, required=group in groups)
            if stamp.engine is not None:
                EngineInstaller(self._layout, self.installer, self._console, os.environ).check(stamp.engine.kind)
            write_stamp(self._layout.stamp, replace(stamp, complete=True))

    def has(self, group: str) -> bool:
        """Whether this group is recorded as installed in the version that is wanted."""
        return self._has(read_stamp(self._layout.stamp), group)

    def add(self, loader: str, torch: str) -> None:
        """Install a further loader and record it. `torch` as in `choose_torch`. Raises StepFailed."""
        with venv.held(self._layout, self._console):
            stamp = read_stamp(self._layout.stamp)
            write_stamp(self._layout.stamp, replace(stamp, complete=False))
            try:
                install_loader(loader, self._layout, self.installer, self.machine, self._console, torch)
            except StepFailed:
                write_stamp(self._layout.stamp, stamp)  # the tool ended in order: what was there is as it was
                raise
            write_stamp(self._layout.stamp, stamp.with_group(loader, digest(self._layout, loader)))

    def _is_current(self, groups: Sequence[str], engine: str) -> bool:
        stamp = read_stamp(self._layout.stamp)
        return (
            stamp.complete
            and venv.is_usable(self._layout)
            and stamp.python == venv_version(self._layout.venv)
            and not wanted(stamp.engine, engine, pinned(self._layout))
            and all(self._has(stamp, group) for group in dict.fromkeys([*groups, *stamp.groups]))
        )

    def _has(self, stamp: Stamp, group: str) -> bool:
        if not self._layout.requirements(group).exists():
            return True  # a group that a newer version has given up
        return stamp.groups.get(group) == digest(self._layout, group)

    def _prepare(self, check: bool) -> Stamp:
        """A working .venv and what it holds. One that was cut off in the middle is checked file by file."""
        stamp = read_stamp(self._layout.stamp)
        certain = stamp.complete and not check
        if not venv.is_usable(self._layout) or not (certain or self.installer.has_pip()):
            venv.make(self._layout, self._console, self.installer.system_uv)
            # Loaders that were there are brought in again with the rest.
            return Stamp(python=venv_version(self._layout.venv), groups=dict.fromkeys(stamp.groups, ""))
        if certain:
            return stamp
        if check:
            self._console.say("Checking what is installed …")
        torn = venv.drop_torn_packages(self._layout)
        half_there = f"half there: {', '.join(torn)}"
        if not stamp.complete and self._layout.stamp.exists():
            what = f" ({half_there})" if torn else ""
            self._console.say(f"The last installation did not finish{what}; going on with it.")
        elif torn:
            self._console.say(f"  {half_there}; installed anew now.")
        engine = stamp.engine
        if engine is not None and any(name.startswith(f"{PACKAGE}-") for name in torn):
            # Only the engine's own step knows where the build for this machine comes from.
            engine = replace(engine, requirement="")
        groups = dict.fromkeys(stamp.groups, "")
        return replace(stamp, engine=engine, groups=groups, python=venv_version(self._layout.venv))

    def _check_room(self, stamp: Stamp) -> None:
        free = shutil.disk_usage(self._layout.venv).free
        if "base" not in stamp.groups and free < ROOM_FOR_PACKAGES:
            raise StepFailed(
                "installing requirements/base.txt",
                f"the disk has {megabytes(free)} free and about {megabytes(ROOM_FOR_PACKAGES)} are needed",
            )

    def _install_engine(self, stamp: Stamp, engine: str) -> Stamp:
        asked = wanted(stamp.engine, engine, pinned(self._layout))
        if not asked:
            return stamp
        installer = EngineInstaller(self._layout, self.installer, self._console, os.environ)
        return replace(stamp, engine=installer.install(self.machine, asked, stamp.engine))

    def _bring(self, stamp: Stamp, group: str, *, required: bool) -> Stamp:
        if self._has(stamp, group):
            return stamp
        try:
            if group in LOADERS:
                install_loader(group, self._layout, self.installer, self.machine, self._console, None)
            else:
                self.installer.install_file(self._layout.requirements(group))
        except StepFailed as error:
            if required:
                raise
            # A loader added earlier must not keep the server from starting, nor be tried at every start.
            self._console.say(f"Note: {error.message} failed: {error.why}")
            self._console.say(f"      To bring it back: python3 start.py install {group}")
            return replace(stamp, groups={name: known for name, known in stamp.groups.items() if name != group})
        return stamp.with_group(group, digest(self._layout, group))

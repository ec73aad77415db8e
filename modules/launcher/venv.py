"""The virtual environment itself: made, checked, repaired after a cut, held by one launcher at a time."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, distributions
from pathlib import Path

from modules.launcher.console import Console, StepFailed
from modules.launcher.layout import Layout
from modules.launcher.stamp import venv_version
from modules.launcher.tool import ask

LOCK_NAME = "enginehouse.lock"
VENV_TIMEOUT_S = 300.0


def base_python() -> str:
    """The interpreter to make environments from: never that of an environment, which may be the broken one."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def is_usable(layout: Layout) -> bool:
    """Whether .venv has an interpreter, of the version its packages were installed for. Runs nothing."""
    version = venv_version(layout.venv)
    if not version or not layout.python.exists():
        return False
    if os.path.realpath(layout.python) == os.path.realpath(base_python()):
        # The same interpreter as ours: it may have been upgraded under the environment (a new system release).
        return version == f"{sys.version_info[0]}.{sys.version_info[1]}"
    return True


@contextmanager
def held(layout: Layout, console: Console) -> Iterator[None]:
    """Hold .venv: two launchers at once would tear each other's installation. Waits, saying so."""
    layout.venv.mkdir(parents=True, exist_ok=True)
    with open(layout.venv / LOCK_NAME, "a+b") as file:
        told = False
        while not _try_lock(file.fileno()):
            if not told:
                console.say("Another start.py is installing here; waiting for it to finish …")
                told = True
            time.sleep(0.3)
        # The operating system lets go of the lock when the file is closed or the process ends, however it ends.
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def make(layout: Layout, console: Console, uv: str) -> None:
    """Make .venv anew, emptying what is there. Raises StepFailed where Python cannot make one.

    uv  path of uv or ""; only used where Python lacks its own means (Debian without python3-venv)
    """
    _empty(layout)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
    console.say(f"Making the Python environment in {layout.venv} (Python {version}) …")
    answer = ask([base_python(), "-m", "venv", str(layout.venv)], timeout=VENV_TIMEOUT_S)
    if not answer.ok and uv:
        _empty(layout)
        answer = ask(
            [uv, "venv", "--seed", "--allow-existing", "--python", base_python(), str(layout.venv)],
            timeout=VENV_TIMEOUT_S,
        )
    if not answer.ok:
        hint = ""
        if "ensurepip" in answer.text or "python3-venv" in answer.text:
            hint = "install the missing part first (Debian, Ubuntu: sudo apt install python3-venv)"
        raise StepFailed(
            f"making the Python environment in {layout.venv}",
            "Python could not make a virtual environment",
            detail=answer.text.strip().splitlines()[-8:],
            hint=hint,
        )


def _empty(layout: Layout) -> None:
    """Remove what is in .venv, but not the lock that is being held."""
    for path in layout.venv.iterdir():
        if path.name == LOCK_NAME:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def site_packages(layout: Layout) -> Path:
    if os.name == "nt":
        return layout.venv / "Lib" / "site-packages"
    return layout.venv / "lib" / f"python{venv_version(layout.venv)}" / "site-packages"


def drop_torn_packages(layout: Layout) -> list[str]:
    """After an installation that was cut off: forget packages that are only half there.

    The installer believes a package's own record; one killed in mid-copy leaves a record without the
    files. Such a record is removed, so that the package is installed again. Returns their names.
    """
    site = site_packages(layout)
    torn = []
    for distribution in distributions(path=[str(site)]):
        folder = Path(str(distribution.locate_file(""))) / _record_folder(distribution)
        if folder.parent == site and folder.suffix == ".dist-info" and not _is_whole(distribution, folder):
            torn.append(folder.name.removesuffix(".dist-info"))
            shutil.rmtree(folder, ignore_errors=True)
    for leftover in site.glob("~*"):
        # pip parks the old version under such a name while it puts the new one in place.
        shutil.rmtree(leftover, ignore_errors=True)
    return sorted(torn)


def _record_folder(distribution: Distribution) -> str:
    # PathDistribution keeps its folder in _path; the public API has no name for it.
    return Path(str(getattr(distribution, "_path", ""))).name


def _is_whole(distribution: Distribution, folder: Path) -> bool:
    """Whether every file of the record is there with its size. INSTALLER is what pip and uv write last."""
    if not (folder / "RECORD").is_file() or not (folder / "INSTALLER").is_file():
        return False
    for file in distribution.files or []:
        if file.suffix == ".pyc":
            continue
        try:
            size = Path(str(file.locate())).stat().st_size
        except OSError:
            return False
        if file.size is not None and size != file.size:
            return False
    return True

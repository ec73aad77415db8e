"""Files an engine writes to go on from later (computed prompts): whole or not there, and never more than a limit.

Below one root each model in each form has a folder, with a note whose file it belongs to. Several engines, in
processes of their own, write and read there at once, so a file in use is held by the system's own lock: it ends with
whoever holds it, and there is never a stale one. Windows refuses to delete a file that is open, which does the same.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modules.disk.durable import storage_error, sync_folder
from modules.errors import NotFound, NotReady, StorageError

if os.name != "nt":
    import fcntl

LIMIT = 8 * 2**30
"""Bytes of all saved states together; see docs/decisions/."""
SHARE = 4
"""They also take at most one part in so many of the disk's space that is free or theirs."""
_TRIES = 3
STATE, PART, NOTE = ".slot", ".part", "model.json"


@dataclass(frozen=True, slots=True)
class Removed:
    """What `tidy` deleted: files and bytes of models that are gone, and those used longest ago."""

    orphans: int = 0
    oldest: int = 0
    size: int = 0

    def __str__(self) -> str:
        """A sentence; "" for nothing."""
        parts = [f"{self.orphans} of models that are gone or changed"] if self.orphans else []
        parts += [f"{self.oldest} used longest ago, to keep within the limit"] if self.oldest else []
        return f"Saved prompts deleted ({self.size / 2**20:,.0f} MiB): {' and '.join(parts)}." if parts else ""


class Claim:
    """A file held open so that nobody deletes it: together with other readers, or alone."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def of(cls, path: Path, *, alone: bool, make: bool = False) -> Claim | None:
        """None when somebody else holds it. Raises FileNotFoundError, OSError."""
        fd = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0) | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if not _locked(fd, alone):
                os.close(fd)
                return None
            if not os.path.samestat(os.fstat(fd), os.stat(path)):  # it was replaced before the lock was had
                raise FileNotFoundError(path)
        except OSError:
            os.close(fd)
            raise
        return cls(path, fd)

    def release(self) -> None:
        """Let others have it; harmless when done twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Writing:
    """A state on its way to the disk. The engine writes the file called `part`; `finish` makes it the state `name`.

    `close` has to follow in any case, and leaves nothing of a state that was not finished.
    """

    def __init__(self, folder: Path, name: str, model: str) -> None:
        """`model` is the file it belongs to. Raises NotReady while it is in use, StorageError."""
        self.target = folder / f"{name}{STATE}"
        self.part = f"{name}{STATE}{PART}"
        self._claims: list[Claim] = []
        try:
            self._begin(folder / self.part)
            with suppress(FileNotFoundError):
                self._claim(self.target)
            if not (folder / NOTE).exists():
                (folder / NOTE).write_text(json.dumps({"model": model, **_look(model)}), encoding="utf-8")
        except OSError as error:
            self.close()
            raise storage_error(self.target, error) from error
        except NotReady:
            self.close()
            raise

    def _begin(self, part: Path) -> None:
        for attempt in range(_TRIES):
            part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                return self._claim(part, make=True)
            except FileNotFoundError:  # `tidy` took the empty folder, or the empty file, for a leftover
                if attempt == _TRIES - 1:
                    raise
        return None

    def _claim(self, path: Path, make: bool = False) -> None:
        found = Claim.of(path, alone=True, make=make)
        if found is None:
            raise NotReady(f"The saved prompt {self.target.stem} is in use.", hint="Try again in a moment.")
        self._claims.append(found)

    def finish(self, size: int) -> None:
        """Keep it; the engine says that it wrote `size` bytes. Raises StorageError when they are not all there."""
        part = self._claims[0]
        try:
            there = os.fstat(part.fd).st_size
            if size <= 0 or there < size:
                raise self.refused()
            if there > (most := budget(self.target.parent.parent)):
                raise StorageError(
                    f"The computed prompt takes {there / 2**20:,.0f} MiB, and saved prompts may take "
                    f"{most / 2**20:,.0f} MiB in all.", hint="Save a shorter one, or make room on the disk.",
                )  # fmt: skip
            os.fsync(part.fd)  # before the name, or a power cut could leave a name with half a state
            if os.name == "nt":
                self._release()
            os.replace(part.path, self.target)
            sync_folder(self.target.parent)
        except OSError as error:
            raise storage_error(self.target, error) from error

    def refused(self) -> StorageError:
        """The error for a state the engine could not write whole."""
        try:
            free = f"{shutil.disk_usage(self.target.parent).free / 2**20:,.0f} MiB"
        except OSError:
            free = "an unknown amount"
        return StorageError(
            f"The computed prompt could not be written whole, so it is not saved; {free} of the disk are free.",
            hint="Make room on the disk, then save it again.",
        )

    def close(self) -> None:
        """See the class."""
        if self._claims and self._claims[0].path.name == self.part:
            if os.name == "nt":
                self._release()
            with suppress(OSError):  # finished, or nothing that can be helped: the next `tidy` looks again
                if os.name == "nt" or _same(self._claims[0]):
                    os.unlink(self.target.with_name(self.part))
        self._release()

    def _release(self) -> None:
        for claim in self._claims:
            claim.release()


def reading(folder: Path, name: str) -> Claim:
    """Hold a saved state while it is read; counts as a use of it. Raises NotFound, NotReady, StorageError."""
    path = folder / f"{name}{STATE}"
    claim = None
    try:
        claim = Claim.of(path, alone=False)
        if claim is not None:
            os.utime(path)
    except FileNotFoundError:
        raise NotFound(f"There is no saved prompt called {name}.", hint="It may have made room for others.") from None
    except OSError as error:
        if claim is not None:
            claim.release()
        raise storage_error(path, error, "read") from error
    if claim is None:
        raise NotReady(f"The saved prompt {name} is in use.", hint="Try again in a moment.")
    return claim


def budget(root: Path) -> int:
    """Bytes that all states below `root` may take together."""
    held = sum(size for _, size, _ in _states(root))
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return LIMIT
    return min(LIMIT, (free + held) // SHARE)


def tidy(root: Path, keep: Path | None = None) -> Removed:
    """Delete what a crash left, the states of models that are gone, and the ones used longest ago above the limit.

    What is being written or read, and `keep`, stays. Raises StorageError.
    """
    orphans = oldest = freed = 0
    try:
        for folder in _folders(root):
            for part in folder.glob(f"*{PART}"):
                _delete(part)
            if _gone(folder):
                for path, size, _ in _states_in(folder):
                    if path != keep and _delete(path):
                        orphans, freed = orphans + 1, freed + size
        left, most = sorted(_states(root), key=lambda one: (one[2], str(one[0]))), budget(root)
        held = sum(size for _, size, _ in left)
        for path, size, _ in left:
            if held > most and path != keep and _delete(path):
                oldest, freed, held = oldest + 1, freed + size, held - size
        for folder in _folders(root):
            if not any(path.name != NOTE for path in folder.iterdir()):
                (folder / NOTE).unlink(missing_ok=True)
                with suppress(OSError):  # somebody began to write there
                    folder.rmdir()
    except OSError as error:
        raise storage_error(root, error, "tidied") from error
    return Removed(orphans, oldest, freed)


def _locked(fd: int, alone: bool) -> bool:
    if os.name == "nt":
        return True
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(claim: Claim) -> bool:
    """Whether the claimed file still has its name."""
    return os.path.samestat(os.fstat(claim.fd), os.stat(claim.path))


def _delete(path: Path) -> bool:
    """Delete a file nobody holds. False when it stays, or was gone."""
    try:
        claim = Claim.of(path, alone=True)
        if claim is None:
            return False
        if os.name == "nt":
            claim.release()
        try:
            os.unlink(path)
        finally:
            claim.release()
    except (FileNotFoundError, PermissionError):  # somebody was faster; on Windows: somebody has it open
        return False
    return True


def _look(model: str) -> dict[str, int]:
    found = os.stat(model)
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def _gone(folder: Path) -> bool:
    """Whether the model a folder belongs to is not there any more, or another. A drive taken out proves nothing."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        model = str(note.pop("model"))
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return False  # nothing is known: the limit holds for it too
    try:
        return bool(_look(model) != note)
    except OSError:
        return Path(model).parent.is_dir()


def _folders(root: Path) -> list[Path]:
    """Those of the models. Nothing here makes a link, so what a link leads to belongs to somebody else."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())


def _states_in(folder: Path) -> list[tuple[Path, int, int]]:
    found = []
    for path in folder.glob(f"*{STATE}"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            found.append((path, stat.st_size, stat.st_mtime_ns))
    return found


def _states(root: Path) -> list[tuple[Path, int, int]]:
    """Every state: its path, its bytes, when it was used last."""
    return [state for folder in _folders(root) for state in _states_in(folder)]

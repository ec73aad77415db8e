"""The only place that changes files which must survive a crash or a power cut.

Three rules, from what POSIX file systems promise (and ext4, XFS, APFS and NTFS keep):

* a file is replaced by writing a new one beside it, fsync, rename, fsync of the folder: after a power
  cut there is the old content or the new one, never a mixture and never an empty file;
* a line is appended by write + fsync; if that fails half-way the file is cut back to what it was, so
  that no later line is glued to a torn one;
* a file that cannot be understood is moved aside, never overwritten.

Every change goes through `os` functions called from this module, which is what lets
`tests/faults/fake_disk.py` watch each of them and replay every state a power cut may leave.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from modules.disk.clock import stamp
from modules.disk.yaml_text import yaml_text
from modules.errors import Conflict, StorageError

if sys.platform == "darwin":
    import fcntl

_BINARY = getattr(os, "O_BINARY", 0)
_TEMP_MARK = ".tmp-"
LAST_GOOD = ".last-good"
"""Folder beside YAML files that holds a copy of each as it last was readable."""

_HINTS = {
    errno.ENOSPC: ("the disk is full", "Free some space and try again. What was saved before is untouched."),
    errno.EDQUOT: ("your disk quota is used up", "Free some space and try again. What was saved before is untouched."),
    errno.EROFS: ("the disk is read-only", "Make it writable, or choose another folder with --user-data-dir."),
    errno.EACCES: ("the folder or file may not be written", "Check its owner and permissions."),
    errno.EPERM: ("the folder or file may not be written", "Check its owner and permissions."),
    errno.ENOENT: ("its folder or file is gone", "Was the folder moved or its drive removed? Bring it back and retry."),
    errno.EIO: ("the disk reported an error", "Check the disk, and copy your data somewhere safe."),
}
_YAML_TROUBLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError, OverflowError)
"""What PyYAML raises on bad input: besides YAMLError also bare Python errors, e.g. KeyError on `!!bool x`."""


def storage_error(path: Path, error: OSError, doing: str = "saved") -> StorageError:
    """`error` in people's words. The file's name is told, not its folder: the text may reach a network client."""
    why, hint = _HINTS.get(error.errno or 0, (error.strerror or str(error), "Check the disk and try again."))
    return StorageError(f"“{path.name}” could not be {doing}: {why}.", hint=hint)


@contextmanager
def _disk(path: Path, doing: str = "saved") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(path, error, doing) from error


# ── replace, append, move, remove ───────────────────────────────────────────────────────────────────


def durable_write(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """Replace `path` by `data` so that a crash leaves the old content or the new one.

    A symlink is written through; the file's permissions are kept. `mode` sets them for a new file
    (0o600 for one that holds a key). A YAML file also gets a copy in `.last-good/` for `read_yaml`.
    Raises StorageError; the old content is then still there.
    """
    raw = data.encode() if isinstance(data, str) else data
    with _disk(path):
        _replace(Path(os.path.realpath(path)), raw, mode)
    if path.suffix in (".yaml", ".yml"):
        _keep_last_good(path, raw)


def append_durably(path: Path, data: bytes, length: int | None = None) -> int:
    """Append `data` to an existing file and return the new length once it is on the disk.

    `length` is how long the caller believes the file is; another length means that somebody else wrote
    to it, which raises Conflict before anything is written. A failed or short write is cut back to the
    old length and raises StorageError.
    """
    with _disk(path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | _BINARY)
    try:
        with _disk(path):
            before = os.fstat(fd).st_size
        if length is not None and before != length:
            raise Conflict(
                f"“{path.name}” was changed by another program.", hint="Reload it, then make your change again."
            )
        try:
            _write_all(fd, data)
            _sync(fd)
        except OSError as error:
            _cut_back(fd, before)
            raise storage_error(path, error) from error
        return before + len(data)
    finally:
        os.close(fd)


def cut_durably(path: Path, length: int) -> None:
    """Shorten `path` to `length` bytes (a torn tail, already kept aside). Raises StorageError."""
    with _disk(path):
        fd = os.open(path, os.O_WRONLY | _BINARY)
        try:
            os.ftruncate(fd, length)
            _sync(fd)
        finally:
            os.close(fd)


def move_durably(source: Path, target: Path) -> None:
    """Rename within one file system; after a crash the file is in one of the two places, whole.

    An existing `target` is replaced. Raises StorageError.
    """
    with _disk(source, "moved"):
        _rename(source, target)
        sync_folder(target.parent)
        if source.parent != target.parent:
            sync_folder(source.parent)


def remove_durably(path: Path) -> None:
    """Delete `path` for good; one that is gone already is fine. Raises StorageError."""
    with _disk(path, "removed"):
        with suppress(FileNotFoundError):
            os.unlink(path)
        sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make `path` and what is missing above it, each entry on the disk before the next. Raises StorageError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with _disk(path, "made"):
        with suppress(FileExistsError):
            os.mkdir(path)
        sync_folder(path.parent)


def put_aside(path: Path, mark: str) -> Path:
    """Rename an unusable file to `<name>.<mark>-<time>` and return where it is now. Raises StorageError."""
    target = free_name(path, mark)
    move_durably(path, target)
    return target


def free_name(path: Path, mark: str) -> Path:
    """An unused `<name>.<mark>-<time>` beside `path`."""
    base = path.with_name(f"{path.name}.{mark}-{stamp()}")
    target, count = base, 1
    while os.path.lexists(target):
        count += 1
        target = base.with_name(f"{base.name}-{count}")
    return target


def remove_leftovers(folder: Path) -> int:
    """Remove temporary files that a crash left in `folder`; call only while no one else writes there."""
    count = 0
    with _disk(folder, "tidied"):
        for path in folder.iterdir():
            if path.name.startswith(".") and _TEMP_MARK in path.name:
                os.unlink(path)
                count += 1
    return count


# ── YAML that people edit ───────────────────────────────────────────────────────────────────────────


def write_yaml(path: Path, value: Any, *, comment: str = "", mode: int | None = None) -> None:
    """Write `value` as YAML in the order given, under an optional `comment`. Raises StorageError."""
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    durable_write(path, head + yaml_text(value), mode=mode)


def read_yaml(path: Path, *, keep_copy: bool = False) -> tuple[Any, str | None]:
    """The value in `path`, and a sentence for the person if something was wrong with it.

    A missing file is (None, None). A file that cannot be read or parsed is moved to
    `<name>.corrupt-<time>`, and the copy from `.last-good/` is put back in its place and used; without
    such a copy the value is None. So a caller that falls back to defaults, and even writes them, never
    destroys what the person had. A readable file is never changed. `keep_copy` renews the copy in
    `.last-good/`, for a file people edit by hand (not for shipped files). Raises nothing.
    """
    try:
        raw = path.read_bytes()
        value = _parse(raw)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return _recover(path, error.strerror or str(error))
    except _YAML_TROUBLE as error:
        return _recover(path, _where(error))
    if keep_copy:
        _keep_last_good(path, raw)
    return value, None


def _parse(raw: bytes) -> Any:
    return yaml.safe_load(raw.decode("utf-8-sig"))


def _where(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    text = str(getattr(error, "problem", None) or error or type(error).__name__).splitlines()[0]
    return f"{text}, line {mark.line + 1}" if mark is not None else text


def _recover(path: Path, why: str) -> tuple[Any, str]:
    try:
        raw = _last_good(path).read_bytes()
        value, good = _parse(raw), True
    except (OSError, *_YAML_TROUBLE):
        raw, value, good = b"", None, False
    used = "The last good copy is used." if good else "There is no earlier copy, so defaults are used."
    try:
        aside = _second_name(path, "corrupt") if good else put_aside(path, "corrupt")
    except StorageError as error:
        return value, f"{path.name} could not be read ({why}) and was left as it is: {error.message} {used}"
    if good:
        with suppress(StorageError):  # the value is known either way; the next change saves it again
            durable_write(path, raw)
    return value, f"{path.name} could not be read ({why}). It is kept as {aside.name}. {used}"


def _second_name(path: Path, mark: str) -> Path:
    """Give the file a second name, so that at no moment there is none; a move where that cannot be done."""
    target = free_name(path, mark)
    try:
        os.link(path, target, follow_symlinks=False)
        sync_folder(path.parent)
    except OSError:  # a folder, or a file system without links
        return put_aside(path, mark)
    return target


def _last_good(path: Path) -> Path:
    return path.parent / LAST_GOOD / path.name


def _keep_last_good(path: Path, raw: bytes) -> None:
    """A real copy, not a link: an editor that writes in place would spoil both."""
    copy = _last_good(path)
    with suppress(OSError):  # not there yet, or damaged: written below
        if copy.read_bytes() == raw:
            return
    with suppress(StorageError):  # the copy is a second line of defence; the file itself is saved
        make_folder(copy.parent)
        with _disk(copy):
            _replace(copy, raw, path.stat().st_mode & 0o777)


# ── the steps underneath ────────────────────────────────────────────────────────────────────────────


def _replace(path: Path, raw: bytes, mode: int | None) -> None:
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode & 0o7777
    temp = path.with_name(f".{path.name[:100]}{_TEMP_MARK}{secrets.token_hex(4)}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666 if mode is None else mode & 0o666)
    try:
        try:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(fd, mode)
            _write_all(fd, raw)
            _sync(fd)
        finally:
            os.close(fd)
        _rename(temp, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temp)
        raise
    sync_folder(path.parent)


def _write_all(fd: int, raw: bytes) -> None:
    view = memoryview(raw)
    while view:
        view = view[os.write(fd, view) :]


def _cut_back(fd: int, length: int) -> None:
    with suppress(OSError):  # if even this fails, the reader ignores the torn tail and keeps it aside
        os.ftruncate(fd, length)
        _sync(fd)


def _sync(fd: int) -> None:
    """fsync that means it. On macOS plain fsync stops at the drive's cache (man 2 fsync, F_FULLFSYNC)."""
    if sys.platform == "darwin":
        with suppress(OSError):  # some network file systems refuse it
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
    os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Put a folder's entries on the disk. Windows cannot open folders; NTFS journals renames itself."""
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot; they say so
            raise
    finally:
        os.close(fd)


def _rename(source: Path, target: Path) -> None:
    """os.replace; on Windows a virus scanner may hold the target for a moment, so try for a second."""
    for attempt in range(20):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if os.name != "nt" or attempt == 19:
                raise
            time.sleep(0.05)

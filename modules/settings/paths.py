"""Where things lie on disk, and the one function that turns a client's name into a path.

A client never sends a path, only a name. `inside` is the only way from such a name to a file, so it is
the only place that has to be right about "..", links, drive letters and the rest.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from modules.errors import BadRequest, NotFound, StorageError

MAX_NAME = 200
# 255 bytes is the limit of a file name on every common file system; the rest is room for endings.
MAX_PART_BYTES = 200
_FORBIDDEN = frozenset('<>:"|?*\\')
# Reserved by Windows whatever the ending, superscript digits included (Microsoft, "Naming Files").
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [stem + digit for stem in ("com", "lpt") for digit in "0123456789¹²³"]
)
# Joiners are part of ordinary words in Persian, Hindi and of emoji; every other invisible sign is a trick.
_JOINERS = frozenset("\u200c\u200d")


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders and files of one user-data folder."""

    root: Path
    models: Path
    chats: Path
    presets: Path
    extensions: Path
    logs: Path
    scratch: Path

    @classmethod
    def below(cls, root: Path, models: Path | None = None) -> Paths:
        """The layout below `root`, its folders made where they are missing.

        Args:
            root: the user-data folder
            models: another folder for the models; None = `root/models`

        Raises: StorageError naming the folder that cannot be made.
        """
        base = root.expanduser().absolute()
        paths = cls(
            root=base,
            models=models.expanduser().absolute() if models is not None else base / "models",
            chats=base / "chats",
            presets=base / "presets",
            extensions=base / "extensions",
            logs=base / "logs",
            scratch=base / "scratch",
        )
        for folder in (paths.models, paths.chats, paths.presets, paths.extensions, paths.logs, paths.scratch):
            _make(folder)
        return paths

    @property
    def settings_file(self) -> Path:
        """What the person set, as YAML."""
        return self.root / "settings.yaml"

    @property
    def params_file(self) -> Path:
        """The sampling values in use, as YAML."""
        return self.root / "params.yaml"

    @property
    def run_file(self) -> Path:
        """Address and process id of the running server, as JSON."""
        return self.root / "run.json"

    @property
    def lock_file(self) -> Path:
        """Held by the one server that may write here."""
        return self.root / ".lock"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder {folder} cannot be made: {error.strerror or error}.",
            hint="Choose another place with --user-data-dir, or give this one write permission.",
        ) from error


def inside(root: Path, name: str) -> Path:
    """The path of `name` below `root`; the file need not exist.

    `name` may have parts with "/" between. It is refused when it could mean anything else on any system
    that a user-data folder may be moved to: "..", absolute, drive letters, backslashes, control and
    invisible characters, names reserved by Windows, a leading or trailing dot or space, too long.
    The path returned is `root` resolved plus `name` as given; links in it are not followed.

    Raises: BadRequest for a name that is not allowed, NotFound when a link in it leads out of `root`.
    """
    parts = _parts(name)
    try:
        base = root.resolve()
        path = base.joinpath(*parts)
        if not path.resolve().is_relative_to(base):
            raise NotFound(f"{name!r} leads out of its folder.", hint="Links may point inside the folder only.")
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a name the system refuses
        raise NotFound(f"{name!r} cannot be opened: {error}.") from error
    return path


def _parts(name: str) -> list[str]:
    if not isinstance(name, str) or not name.strip():
        raise _refused(name, "it is empty")
    if len(name) > MAX_NAME:
        raise _refused(name, f"it is longer than {MAX_NAME} characters")
    parts = name.split("/")
    # Some systems and libraries fold look-alikes ("．．", "／") to the plain signs; none may become a separator.
    folded = unicodedata.normalize("NFKC", name).replace("\\", "/").split("/")
    if len(folded) != len(parts) or any(part and not part.strip(". ") for part in folded):
        raise _refused(name, "a part of it is dots only, or it has a sign that reads as a slash")
    for part in parts:
        problem = _problem(part)
        if problem:
            raise _refused(name, problem)
    return parts


def _problem(part: str) -> str:
    """Why `part` may not be a file name; "" when it may."""
    if not part:
        return "it has an empty part"
    for char in part:
        if char in _FORBIDDEN:
            return f"it has the sign {char}"
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char not in _JOINERS:
            return f"it has the invisible character U+{ord(char):04X}"
    if part != part.strip() or part[0] == "." or part[-1] == ".":
        return "a part of it begins or ends with a dot or a space"
    if part.split(".")[0].rstrip().casefold() in _RESERVED:
        return f"{part.split('.')[0]} is reserved by Windows"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"a part of it is longer than {MAX_PART_BYTES} bytes"
    return ""


def _refused(name: object, problem: str) -> BadRequest:
    shown = ascii(name)
    return BadRequest(
        f"The name {shown if len(shown) <= 80 else shown[:77] + '...'} is not allowed: {problem}.",
        hint="Use letters, digits, spaces and - _ . ( ) in names.",
        code="invalid_name",
    )

"""Attachments of chats, stored by content: the file's name is the SHA-256 of its bytes.

The same bytes are kept once, however many messages refer to them. No name or path from a client ever reaches the disk:
a file is asked for by its hash, and what was read is checked against it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from modules.disk.durable import durable_write, make_folder, storage_error
from modules.errors import BadRequest, NotFound, StorageError, TooLarge
from modules.messages.parts import FilePart, Part, TextPart

MOST_BYTES = 64 * 1024 * 1024  # of one file
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PRIVATE = 0o600


class AttachmentStore:
    """Thread-safe: files are written whole under their hash and never changed."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most = most_bytes

    def put(self, data: bytes) -> str:
        """Keep `data`; on return it is on the disk. Gives its hash, 64 hex digits. Raises TooLarge or StorageError."""
        if len(data) > self._most:
            raise TooLarge(f"The file is larger than {self._most / 1024**2:,.0f} MB.", hint="Attach a smaller one.",
                           code="attachment_too_large")  # fmt: skip
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        if not _holds(path, data):
            make_folder(path.parent)
            durable_write(path, data, mode=_PRIVATE)
        return name

    def get(self, sha256: str) -> bytes:
        """The bytes with this hash. Raises NotFound, or StorageError where the file is damaged or cannot be read."""
        if not self.has(sha256):
            raise NotFound("This attachment is not there any more.", hint="Attach the file again.",
                           code="attachment_not_found")  # fmt: skip
        path = self._path(sha256)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise storage_error(path, error) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError("An attachment is damaged on the disk.", hint="Attach the file again.",
                               code="attachment_damaged")  # fmt: skip
        return data

    def has(self, sha256: str) -> bool:
        """Whether a file with this hash is there."""
        return is_sha256(sha256) and self._path(sha256).is_file()

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


def check_parts(parts: Sequence[Part], text: str, attachments: AttachmentStore) -> None:
    """Raises BadRequest for parts a journal does not keep, NotFound for a file that is not in `attachments`."""
    if any(not isinstance(part, (TextPart, FilePart)) for part in parts):
        raise BadRequest("A chat keeps files by their hash, not in the message.", hint="Attach the file first.")
    if parts and "".join(part.text for part in parts if isinstance(part, TextPart)) != text:
        raise BadRequest("The text parts of a message have to be its text.")
    if any(isinstance(part, FilePart) and not attachments.has(part.sha256) for part in parts):
        raise NotFound("An attachment of this message is not there.", hint="Attach the file again.",
                       code="attachment_not_found")  # fmt: skip


def is_sha256(value: object) -> bool:
    """Whether `value` can be the hash of an attachment."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file is there, whole; a damaged one is written again."""
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error(path, error) from error

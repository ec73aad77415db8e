"""Knows by its first bytes what a file is that is no model: a web page, a pointer, an archive, a broken download."""

from __future__ import annotations

from dataclasses import dataclass

from modules.formats.problems import AGAIN, Problem, Reason

START = 512
"""Bytes that are enough to tell; a TAR archive has its mark at 257."""
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")
_ANSWERS = (
    b'{"error',
    b"{'error",
    b"entry not found",
    b"invalid username",
    b"access to model",
    b"repository not found",
    b"unauthorized",
    b"404: not found",
    b"not found",
)
_ARCHIVES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "a gzip file"), (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"), (b"Rar!\x1a\x07", "a RAR archive"),
    (b"BZh", "a bzip2 file"), (b"\xfd7zXZ\0", "an XZ file"), (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
)  # fmt: skip
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x7fELF", "a program", "Models do not come as programs. Get the model as GGUF or safetensors."),
    (b"MZ", "a Windows program", "Models do not come as programs. Get the model as GGUF or safetensors."),
    (b"\x89HDF\r\n\x1a\n", "a TensorFlow or Keras model", "Get the model as safetensors or GGUF."),
    (b"%PDF-", "a PDF document", AGAIN),
    (b"\x89PNG\r\n\x1a\n", "a picture", AGAIN),
    (b"\xff\xd8\xff", "a picture", AGAIN),
)


@dataclass(frozen=True, slots=True)
class BadFile:
    """What a file is instead of a model: the format for ModelFacts, and the reason."""

    format: str
    problem: Problem


def bad_file(start: bytes, size: int, ending: str = ".gguf") -> BadFile | None:
    """What a file is that begins with `start` and cannot be a model; None when nothing is known against it.

    ending  of its name, for the text; "" when it has none
    """
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    saved = f" saved as {ending}" if ending else ""
    if size == 0:
        return _unknown(Reason.EMPTY)
    if text.startswith(b"version https://git-lfs"):
        return BadFile("lfs-pointer", Problem.of(Reason.LFS_POINTER))
    if text.startswith(_PAGES):
        return BadFile("web-page", Problem.of(Reason.WEB_PAGE, saved=saved))
    if text.startswith(_ANSWERS) and size < 100_000:
        return BadFile("web-page", Problem.of(Reason.SITE_ERROR, saved=saved))
    if not start.strip(b"\0"):
        return _unknown(Reason.ZEROS)
    return _archive(start)


def _unknown(code: Reason, **values: object) -> BadFile:
    return BadFile("unknown", Problem.of(code, **values))


def _archive(start: bytes) -> BadFile | None:
    for magic, what in _ARCHIVES:
        if start.startswith(magic):
            return _unknown(Reason.ARCHIVE, what=what)
    if start[257:262] == b"ustar":
        return _unknown(Reason.ARCHIVE, what="a TAR archive")
    for magic, what, hint in _OTHERS:
        if start.startswith(magic):
            return _unknown(Reason.OTHER_FILE, what=what, hint=hint)
    return None

"""Fetching one known file: resumed where it broke off, checked against its hash before anyone uses it."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Protocol

from modules.launcher.proxies import is_http

CHUNK = 256 * 1024
# Answers that another try will not change.
FINAL_STATUSES = frozenset({400, 401, 403, 404, 407, 410, 451})


class DownloadFailed(Exception):
    """The file could not be had. `http_status` is the HTTP status that ended it, 0 for anything else.

    What arrived stays in the .part file, so that the next try goes on from there.
    """

    def __init__(self, message: str, *, http_status: int = 0, certificate: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status
        self.certificate = certificate


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about the file beforehand: its address, its exact size in bytes, its SHA-256 in hex."""

    url: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with a bad line. Tries are counted anew whenever something arrived.

    stall_s  seconds without a byte after which a connection is given up
    tries    failures in a row without a byte gained
    pause_s  wait before the second try; it doubles up to 30 s
    """

    stall_s: float = 30.0
    tries: int = 5
    pause_s: float = 1.0


PATIENCE = Patience()


class Body(Protocol):
    """The part of an HTTP response that is used here."""

    status: int
    headers: Message

    def read1(self, amount: int) -> bytes: ...


def fetch(
    known: Known,
    part: Path,
    opener: urllib.request.OpenerDirector,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
    on_trouble: Callable[[str], None] = lambda text: None,
    patience: Patience = PATIENCE,
) -> None:
    """Bring `part` to be the whole file, verified. What `part` holds already is kept and continued.

    on_progress  called with the number of bytes there so far
    on_trouble   called with a sentence before each new try
    Raises DownloadFailed.
    """
    failures = 0
    wrong_content = 0
    while True:
        before = _size(part)
        if before >= known.size:
            if before == known.size and sha256_of(part) == known.sha256:
                return
            part.unlink()
            wrong_content += 1
            if wrong_content > 1:
                raise DownloadFailed("what arrives is not the expected file: its SHA-256 is another one")
            on_trouble("what is there is not the expected file; fetching it anew")
            continue
        try:
            _append(known, part, opener, on_progress, patience.stall_s)
            problem = "the connection ended early"
        except urllib.error.HTTPError as error:
            with error:
                problem = _http_problem(error, part)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            problem = _network_problem(error)
        now = _size(part)
        if now >= known.size:
            continue
        failures = 0 if now > before else failures + 1
        if failures >= patience.tries:
            raise DownloadFailed(f"{problem}; gave up after {failures} tries")
        on_trouble(f"{problem}; going on from {now:,} of {known.size:,} bytes")
        time.sleep(min(patience.pause_s * 2**failures, 30.0))


def _append(
    known: Known,
    part: Path,
    opener: urllib.request.OpenerDirector,
    on_progress: Callable[[int], None],
    stall_s: float,
) -> None:
    """One connection: ask for the rest of the file and add what comes."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "enginehouse"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with opener.open(urllib.request.Request(known.url, headers=headers), timeout=stall_s) as response:
        if not _continues_at(response, start):
            # The range was ignored and the file comes from its beginning: pass over what is there already.
            _skip(response, start)
        done = start
        with open(part, "ab") as out:
            # A server that sends more than the file has is cut off; the hash decides about the rest.
            while done < known.size:
                # read1: what has come so far, so that a stall loses nothing.
                data = response.read1(min(CHUNK, known.size - done))
                if not data:
                    break
                out.write(data)
                done += len(data)
                on_progress(done)
            out.flush()
            os.fsync(out.fileno())


def _continues_at(response: Body, start: int) -> bool:
    """Whether the answer begins at this byte of the file."""
    given = str(response.headers.get("Content-Range", ""))
    return start == 0 if response.status != 206 else given.startswith(f"bytes {start}-")


def _skip(response: Body, amount: int) -> None:
    while amount > 0:
        data = response.read1(min(CHUNK, amount))
        if not data:
            return
        amount -= len(data)


def _http_problem(error: urllib.error.HTTPError, part: Path) -> str:
    if error.code in FINAL_STATUSES:
        raise DownloadFailed(f"the server answered {error.code} {error.reason}", http_status=error.code) from error
    if error.code == 416:
        # Our part is longer than the server's file: it belongs to something else.
        part.unlink(missing_ok=True)
    return f"the server answered {error.code} {error.reason}"


def _network_problem(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise DownloadFailed(
            f"the server's certificate is not trusted ({reason.verify_message})", certificate=True
        ) from error
    if isinstance(reason, TimeoutError):
        return "no data arrived for too long"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    if isinstance(reason, OSError) and reason.errno in (errno.ENOSPC, errno.EDQUOT):
        raise DownloadFailed("the disk is full") from error
    if isinstance(reason, OSError) and reason.filename is not None:
        raise DownloadFailed(f"{reason.filename} cannot be written or read: {reason.strerror}") from error
    return f"the connection failed ({reason})"


def make_opener(*, proxy: str = "", authorities: tuple[str, ...] = ()) -> urllib.request.OpenerDirector:
    """An opener with the system's proxies and certificates, and what pip is set up with beside them.

    authorities  files or folders of certificates to trust in addition; missing ones are passed over
    Proxies of the system that are not HTTP proxies are left out. Raises DownloadFailed where `proxy` is none.
    """
    context = ssl.create_default_context()
    for name in authorities:
        if os.path.isfile(name):
            context.load_verify_locations(cafile=name)
        elif os.path.isdir(name):
            context.load_verify_locations(capath=name)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if proxy and not is_http(proxy):
        raise DownloadFailed("pip's setting `proxy` is not the address of an HTTP proxy (http://HOST:PORT)")
    system = {scheme: url for scheme, url in urllib.request.getproxies().items() if is_http(url)}
    handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else system))
    return urllib.request.build_opener(*handlers)


def without_secrets(url: str) -> str:
    """An address as it may be shown: no user, password, query."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    return urllib.parse.urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path, "", ""))


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

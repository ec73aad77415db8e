"""What a server that is not ours says or does when it does not answer, as an error that names the next step.

Nothing of a key is ever in these texts: what a server says is cut short, and `cleaned` of what only it may know.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson

from modules.drivers.http_client import ConnectionLost
from modules.errors import (
    BadRequest,
    ContextOverflow,
    EngineCrashed,
    EngineError,
    EnginehouseError,
    NotReady,
    RateLimited,
)
from modules.types import Endpoint

UNREACHABLE = "engine_unreachable"
_LONGEST = 600
_TOO_LONG = re.compile(
    r"maximum context length|context[ _]length|context window|context size|exceed_context|prompt is too long|"
    r"longer than the model|max_seq_len|too many tokens|input is too long", re.IGNORECASE)  # fmt: skip
_NUMBER = re.compile(r"\d[\d,]{2,}")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
LONGEST_WAIT = 86400.0
"""Seconds a server may ask to wait; what is more is taken for this."""


def shown(url: str) -> str:
    """An address as people are told it: without a path, which may hold something secret."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{parts.port}" if parts.port else host


def cleaned(error: EnginehouseError, endpoint: Endpoint) -> EnginehouseError:
    """The error without the key and the headers: some servers repeat what they were sent."""
    for secret in (endpoint.key, *endpoint.headers.values()):
        if len(secret) > 3:
            error.message = error.message.replace(secret, "…")
    return error


def unreachable(error: BaseException, where: str, begun: bool = False) -> EngineError:
    """Why there was no connection, or no answer on it. `begun` = in the middle of a reply."""
    look = "Look whether it runs, and at its address in the endpoint file."
    if isinstance(error, ssl.SSLCertVerificationError):
        trust = "Name its certificate authority in the endpoint file: ca_file: FILE.pem"
        return _gone(f"The certificate of {where} is not trusted: {error.verify_message}.", trust, "certificate_bad")
    if isinstance(error, ssl.SSLError):
        return _gone(f"{where} does not speak TLS as this program does ({error.reason or 'no handshake'}).",
                     "If it has no certificate, its address begins with http:// and not https://.")  # fmt: skip
    if isinstance(error, socket.gaierror):
        return _gone(f"The name {where} is not known.", "Look at the spelling of the address in the endpoint file, "
                     "and whether this machine is online.")  # fmt: skip
    if isinstance(error, ConnectionRefusedError):
        return _gone(f"Nobody listens at {where}.", look)
    if isinstance(error, TimeoutError):
        return _gone(f"{where} does not answer.", look, "engine_timeout")
    if begun or (isinstance(error, ConnectionLost) and error.begun):
        return _gone(f"{where} broke the connection off before the reply was complete.", "Try again.")
    if isinstance(error, ConnectionLost):
        return _gone(f"{where} closed the connection without an answer.",
                     "Look whether it is a server for http:// or for https://, and at its log.")  # fmt: skip
    said = getattr(error, "strerror", None) or type(error).__name__
    return _gone(f"{where} cannot be reached: {said}.", look)


def silent(seconds: float, where: str) -> EngineError:
    """A server that sends nothing any more."""
    return _gone(f"{where} has sent nothing for {seconds:.0f} seconds, so it was hung up on.",
                 "Try again; a longer wait is set as timeout in the endpoint file.", "engine_timeout")  # fmt: skip


def _gone(message: str, hint: str, code: str = UNREACHABLE) -> EngineError:
    return EngineCrashed(message, hint=hint, code=code)


def refusal(status: int, raw: bytes, where: str, retry_after: str = "") -> EnginehouseError:
    """The error of an answer that is not 200. `retry_after` is its header of that name."""
    body = parsed(raw)
    said, code = said_in(body), str(_field(body, "code") or _field(body, "type") or "")
    if status >= 500 and _TOO_LONG.search(said) is None:
        error = _server_fault(status, raw, said, where)
    else:
        error = _refused(status, said or _page(raw) or _phrase(status), code, where)
    return told_to_wait(error, retry_after)


def told_to_wait(error: EnginehouseError, header: str) -> EnginehouseError:
    """The error with what its answer's header Retry-After says: seconds, or a date (RFC 9110, 10.2.3).

    Only where waiting helps: for too many requests, and for a server that is not ready. What is no time is no header.
    """
    if header and error.status in (429, 503):
        with contextlib.suppress(ValueError, TypeError, OverflowError):  # no number, no date, or none there can be
            seconds = float(header) if _SECONDS.fullmatch(header) else _until(header)
            error.retry_after = min(max(seconds, 0.0), LONGEST_WAIT)
    return error


def _until(date: str) -> float:
    when = parsedate_to_datetime(date)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (when - datetime.now(UTC)).total_seconds()


def reported(error: Any, where: str) -> EnginehouseError:
    """The error of an error in the middle of a stream."""
    values = error if isinstance(error, Mapping) else {"message": str(error)}
    said = str(values.get("message") or "The server reported an error without words.")[:_LONGEST]
    code = values.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    if status >= 500 and _TOO_LONG.search(said) is None:
        return EngineError(f"The server at {where} reported: {said}", hint="Try again; its log may say more.")
    return _refused(status, said, str(values.get("type") or ""), where)


def _refused(status: int, said: str, code: str, where: str) -> EnginehouseError:
    if status in (400, 413, 422, 500) and (_TOO_LONG.search(said) or _TOO_LONG.search(code)):
        numbers = "" if _NUMBER.search(said) else " It does not say by how much."
        return ContextOverflow(f"The prompt does not fit the server's context: {said}{numbers}",
                               hint="Shorten it, or use a model with a larger context.")  # fmt: skip
    if status == 429:
        return RateLimited(f"The server at {where} has too much to do for this key now: {said}",
                           hint="Wait a little, then try again.")  # fmt: skip
    if 300 <= status < 400:
        return EngineError(f"The server at {where} sends on to another address, which is not followed.",
                           hint=_HINTS[300], code="endpoint_moved")  # fmt: skip
    if status == 401:  # its words are left out: some servers repeat a part of the key
        return EngineError(f"The server at {where} does not take the key.", hint=_HINTS[401],
                           code="endpoint_key_refused")  # fmt: skip
    if status in (402, 403):
        return EngineError(f"The server at {where} does not allow this: {said}", hint=_HINTS[403],
                           code="endpoint_forbidden")  # fmt: skip
    if status in (404, 405):
        return EngineError(f"The server at {where} does not know this: {said}", hint=_HINTS[404],
                           code="endpoint_not_found")  # fmt: skip
    return BadRequest(f"The server at {where} refused the request: {said}")


_HINTS = {
    300: "Put the address it is really at into the endpoint file.",
    401: "Put the right one into key or key_env of the endpoint file, and load the model again.",
    403: "Look at what its key may do there, and whether it is paid for.",
    404: "Look at the address (often it ends with /v1) and at the model's name in the endpoint file.",
}


def _server_fault(status: int, raw: bytes, said: str, where: str) -> EnginehouseError:
    page = said or _page(raw)
    words = f"{status} {_phrase(status)}" + (f": {page}" if page else "")
    if status in (502, 503, 504, 529):
        return NotReady(f"The server at {where} is not ready ({words}).", hint="Try again in a moment.",
                        code="engine_unavailable")  # fmt: skip
    return EngineError(f"The server at {where} failed ({words}).", hint="Try again; its log may say more.")


def parsed(raw: bytes) -> Mapping[str, Any]:
    """An answer's JSON object, {} when it is none."""
    try:
        data = orjson.loads(raw)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {"message": str(data)}


def said_in(body: Mapping[str, Any]) -> str:
    """What an error's body says, in any of the shapes there are: OpenAI's, FastAPI's, plain ones."""
    error = body.get("error", body.get("detail", body))
    if isinstance(error, list):  # FastAPI's list of faults
        faults = [one for one in error if isinstance(one, Mapping)]
        return "; ".join(f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg', '')}" for one in faults)[:_LONGEST]
    if isinstance(error, Mapping):
        error = error.get("message") or error.get("detail") or error.get("error") or ""
    return " ".join(str(error).split())[:_LONGEST]


def named_in(body: Mapping[str, Any]) -> str:
    """The parameter an error's body names."""
    return str(_field(body, "param") or "")


def _field(body: Mapping[str, Any], name: str) -> Any:
    error = body.get("error")
    return (error if isinstance(error, Mapping) else body).get(name)


def _page(raw: bytes) -> str:
    """The words of a page or of plain text: the title of one, the beginning of the other."""
    text = raw[:20_000].decode("utf-8", "replace")
    if "<" not in text[:200]:
        return " ".join(text.split())[:200]
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    words = " ".join(unescape(title.group(1)).split())[:200] if title else ""
    return f"a web page, “{words}”" if words else "a web page instead of an answer"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "an unknown status"

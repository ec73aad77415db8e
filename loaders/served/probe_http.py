"""Short questions to a server, from the worker: blocking, without proxies, and no redirect is followed."""

from __future__ import annotations

import http.client
import json
import math
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard
from urllib.parse import urlsplit

MOST = 8 * 1024 * 1024
_LONGEST = 200


class Unanswered(Exception):
    """There was no answer that can be used; the text says why, for people, and holds no secret.

    status  of the answer there was, 0 = none
    said    the words of an answer that refuses, "" = none
    """

    def __init__(self, message: str, status: int = 0, said: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.said = said


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ProbeHttp:
    """Asks one server. `url` is its root."""

    url: str
    key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = None
    timeout: float = 10.0

    def get(self, path: str) -> Any:
        """The JSON at `path`. Raises Unanswered."""
        return self._asked(path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that is answered to a JSON body. Raises Unanswered."""
        return self._asked(path, json.dumps(body).encode())

    def _asked(self, path: str, body: bytes | None) -> Any:
        sent = {"User-Agent": "enginehouse", "Accept": "application/json", **self.headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if self.key:
            sent["Authorization"] = f"Bearer {self.key}"
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
        if self.url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=self.tls))
        opener = urllib.request.build_opener(*handlers)
        try:
            with opener.open(urllib.request.Request(self.url + path, body, sent), timeout=self.timeout) as answer:
                return json.loads(answer.read(MOST))
        except urllib.error.HTTPError as error:
            with error:
                said = self._said(error)
            raise Unanswered(_status(error.code), error.code, said) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(_reason(error)) from None
        except (ValueError, RecursionError):
            raise Unanswered("it answers with something that is not JSON", 200) from None

    def _said(self, error: urllib.error.HTTPError) -> str:
        """The words of a refusal in OpenAI's shape, without what only the server and we know."""
        try:
            answer = json.loads(error.read(MOST))
            message = answer["error"]["message"]
        except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError, RecursionError):
            return ""
        words = " ".join(str(message).split())
        for secret in (self.key, *self.headers.values()):
            if len(secret) > 3:
                words = words.replace(secret, "…")
        return words[:_LONGEST]

    @property
    def shown(self) -> str:
        """The address as people are told it: without its path."""
        parts = urlsplit(self.url)
        return parts.netloc or "?"


def object_of(value: Any) -> Mapping[str, Any]:
    """A JSON object of an answer, {} for anything else."""
    return value if isinstance(value, dict) else {}


def count_of(value: Any) -> int:
    """A whole number of an answer, 0 for anything else."""
    return value if type(value) is int and value > 0 else 0


def finite(value: Any) -> TypeGuard[float]:
    """Whether it is a number, and one that can be computed with: JSON has whole numbers of any length."""
    try:
        return not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:
        return False


def _status(status: int) -> str:
    if 300 <= status < 400:
        return "it sends on to another address, which is not followed: put that one into the endpoint file"
    words = {401: "it does not take the key", 403: "it does not allow this to the key", 429: "it has too much to do"}
    return words.get(status, f"it answers with HTTP {status}")


def _reason(error: BaseException) -> str:
    """Why there was no connection, in the words of what can be done about it."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {cause.verify_message} (ca_file in the endpoint file names one that is)"
        )
    if isinstance(cause, ssl.SSLError):
        return "it does not speak TLS (an address without a certificate begins with http://)"
    if isinstance(cause, socket.gaierror):
        return "its name is not known (is the address spelled right, is this machine online?)"
    if isinstance(cause, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(cause, TimeoutError):
        return "it does not answer"
    if isinstance(cause, (http.client.HTTPException, ConnectionError)):
        return "it closes the connection without an answer (is it a server for http:// or for https://?)"
    return f"it cannot be reached ({getattr(cause, 'strerror', None) or type(cause).__name__})"

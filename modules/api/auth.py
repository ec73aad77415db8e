"""The one key and the ways to show it: `Authorization: Bearer`, `x-api-key`, or the cookie that /login sets.

One key for everything: routes, /docs, /web, WebSockets and Gradio's own. The cookie holds no key but an
expiry signed with it (HMAC-SHA256), so a changed key ends every session and nothing has to be stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping

from modules.errors import Unauthorized

SESSION_SECONDS = 30 * 24 * 3600
OPEN_PATHS = frozenset({"/login"})


class Auth:
    """Checks keys and sessions. An empty key means that everybody who reaches the server may use it."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        # A program may send letters beyond ASCII in a header as UTF-8 or, as browsers do, as Latin-1.
        latin = key.encode("latin-1", "ignore")
        self._latin_key = latin if len(latin) == len(key) else self._key
        self._signing_key = hashlib.sha256(b"enginehouse session\0" + self._key).digest()
        # Cookies are shared by all ports of a host: two servers must not push each other's session out.
        self.cookie = "enginehouse_" + hashlib.sha256(b"name\0" + self._signing_key).hexdigest()[:8]

    @property
    def needed(self) -> bool:
        """Whether a key is set."""
        return bool(self._key)

    def is_key(self, given: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._key)

    def _is_shown(self, given: str) -> bool:
        """Compare a header's value, which the server hands on with one character per byte, in constant time."""
        raw = given.encode("latin-1", "replace")
        return hmac.compare_digest(raw, self._key) | hmac.compare_digest(raw, self._latin_key)

    def new_session(self) -> str:
        """A cookie value that is good for SESSION_SECONDS."""
        payload = f"{int(time.time()) + SESSION_SECONDS}.{secrets.token_urlsafe(12)}"
        return f"{payload}.{self._sign(payload)}"

    def is_session(self, value: str) -> bool:
        """Whether a cookie value was made with this key and has not expired."""
        payload, _, signature = value.rpartition(".")
        expires = payload.partition(".")[0]
        genuine = hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), self._sign(payload).encode())
        return genuine and expires.isdecimal() and int(expires) > time.time()

    def has_session(self, header: str) -> bool:
        """Whether a Cookie header holds a session."""
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie:
                return self.is_session(value)
        return False

    def set_cookie(self, secure: bool) -> str:
        """The Set-Cookie header of a new session; `secure` when the page came over https."""
        ending = "; Secure" if secure else ""
        return (
            f"{self.cookie}={self.new_session()}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict{ending}"
        )

    def _sign(self, payload: str) -> str:
        return hmac.new(self._signing_key, payload.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Raises Unauthorized unless the request shows the key, a session, or asks for /login."""
        if not self._key or path in OPEN_PATHS:
            return
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip(" \t") if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if given:
            if self._is_shown(given):
                return
            raise Unauthorized("The API key is wrong.", hint="Use the key the server was started with.")
        if self.has_session(headers.get("cookie", "")):
            return
        raise Unauthorized(
            "This server needs a key.",
            hint="Send it as `Authorization: Bearer KEY`, or open /login in a browser.",
            code="missing_api_key",
        )

"""The security headers every answer carries, and how large a request's may be."""

from __future__ import annotations

LARGEST_HEAD = 64 * 1024  # bytes of a request's first line and headers, as in other servers

# Gradio builds functions from strings and styles elements inline, so 'unsafe-inline' and 'unsafe-eval' cannot
# be left out. What counts here: nothing is loaded from, or sent to, any other host, and nobody can frame us.
CONTENT_POLICY = "; ".join((
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self' data: blob:",
    "worker-src 'self' blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
))  # fmt: skip

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"geolocation=(), camera=(), payment=()"),
)


def cors_headers(origin: str) -> tuple[tuple[bytes, bytes], ...]:
    """What lets a page of an allowed origin read an answer. No cookies: such a page brings a key."""
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", b"content-disposition, retry-after"),
        (b"vary", b"origin"),
    )


def preflight_headers(origin: str, asked: str) -> tuple[tuple[bytes, bytes], ...]:
    """The answer to the browser's question before a cross-origin request."""
    return (
        *cors_headers(origin),
        (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"access-control-allow-headers", (asked or "authorization, content-type, x-api-key").encode("latin-1")),
        (b"access-control-max-age", b"600"),
    )

"""Proxy variables that pip and urllib cannot use, left out of what the installer passes on.

A proxy that works is used for every download. A SOCKS proxy, or a value that is no address at all,
would end a download with an error about neither the value nor its name.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

NAMES = ("http_proxy", "https_proxy", "all_proxy")


def unusable_proxies(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the proxy variables that do not hold the address of an HTTP proxy."""
    return tuple(name for name, value in environ.items() if name.lower() in NAMES and value and not is_http(value))


def is_http(value: str) -> bool:
    """Whether this is the address of an HTTP proxy: [http[s]://][user:password@]host[:port]."""
    try:
        parts = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def usable_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without the proxy variables that cannot be used."""
    bad = unusable_proxies(environ)
    return {name: value for name, value in environ.items() if name not in bad}

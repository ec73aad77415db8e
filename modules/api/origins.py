"""Who may talk to this server: host names and origins, as plain functions over headers.

Two attacks are shut out here. A web page that makes the browser send requests to a local server
(cross-site request forgery) shows itself by `Origin` and `Sec-Fetch-Site`. A page whose own DNS name is
re-pointed to this machine (DNS rebinding) shows itself by a `Host` that is not one of ours.
Programs other than browsers send neither header and pass. SECURITY.md has the reasoning.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from modules.errors import Forbidden
from modules.settings.store import is_loopback

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})
PRIVATE_NAMES = (".internal", ".local")
"""Endings that the public DNS never holds: ICANN keeps .internal for private use, RFC 6762 .local for the local link.
A public site cannot make such a name point here. Programs in containers use them (host.docker.internal)."""
LOOPBACK_ENDING = ".localhost"
"""RFC 6761: names below it always mean this machine, whoever looks them up."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def host_name(value: str) -> str:
    """The name in a Host header or an origin's network part: no port, no brackets, lower case; "" if malformed."""
    value = value.strip().lower()
    if value.startswith("["):
        name, closed, rest = value[1:].partition("]")
        return name if closed and (not rest or rest[1:].isdigit()) else ""
    name, _, port = value.partition(":")
    return name.rstrip(".") if not port or port.isdigit() else ""


def is_address(name: str) -> bool:
    """Whether a host name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def from_browser(headers: Mapping[str, str]) -> bool:
    """Whether a request shows what browsers send and programs do not."""
    sent = ("origin", "referer", "cookie", "sec-fetch-site", "sec-fetch-dest")
    return any(name in headers for name in sent) or "mozilla/" in headers.get("user-agent", "").lower()


def own_names() -> frozenset[str]:
    """What this machine is called on its network."""
    name = socket.gethostname().lower()
    return frozenset({name, f"{name.partition('.')[0]}.local"})


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """The rules of one running server.

    hosts          names that may stand in the Host header
    any_address    IP addresses may too (a server that listens beyond this machine); a rebound DNS name still may not
    cors_origins   origins ("https://example.org") whose pages may call this server
    any_origin     "*" stood among them
    ports          "name:port" of the allowed hosts that were given with one: where a proxy shows the page
    """

    hosts: frozenset[str]
    any_address: bool = False
    cors_origins: frozenset[str] = frozenset()
    any_origin: bool = False
    ports: frozenset[str] = frozenset()

    @classmethod
    def of(cls, bind: str, allowed_hosts: Iterable[str], cors_origins: Iterable[str], has_key: bool) -> OriginPolicy:
        """The policy for a bind address and the two lists from the settings.

        "*" among the origins counts only when a key is set: without one it would let every web page drive
        the server.
        """
        listens = not is_loopback(bind)
        allowed = frozenset(name.strip().lower() for name in allowed_hosts)
        hosts = LOOPBACK_NAMES | {host_name(name) for name in allowed} - {""}
        if bind not in ANY_ADDRESS:
            hosts |= {bind.lower()}
        if listens:
            hosts |= own_names()
        origins = frozenset(origin.strip().rstrip("/").lower() for origin in cors_origins)
        return cls(hosts, listens, origins - {"*"}, "*" in origins and has_key, allowed - hosts)

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raises Forbidden when the Host header is not one of this server's names.

        Programs may use a private name too; a browser only one that is in the settings, as somebody on the same
        network can answer for names that the public DNS does not hold.
        """
        name = host_name(headers.get("host", ""))
        if name in self.hosts or (self.any_address and is_address(name)) or name.endswith(LOOPBACK_ENDING):
            return
        if name.endswith(PRIVATE_NAMES) and not from_browser(headers):
            return
        raise Forbidden(
            f"This server does not answer to the host name {name[:100]!r}.",
            hint="Use localhost, or add the name with --allowed-hosts.",
            code="host_not_allowed",
        )

    def cors_allows(self, origin: str) -> bool:
        """Whether pages of this origin were allowed in the settings."""
        return bool(origin) and (self.any_origin or origin.lower() in self.cors_origins)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """For unsafe methods and WebSockets. Raises Forbidden when another site's page sent the request."""
        origin = headers.get("origin", "")
        if self.cors_allows(origin):
            return
        if origin:
            netloc, host = _netloc(origin), headers.get("host", "").strip().lower()
            if not netloc or (netloc != host and not self._behind_proxy(netloc, host_name(host))):
                raise _refused(origin)
        elif headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise _refused("another site")

    def _behind_proxy(self, netloc: str, host: str) -> bool:
        """Whether a proxy has rewritten Host: the page's own name is one the owner allowed, and not the one asked.

        A proxy shows the page at the scheme's own port, or at one the owner named. Any other port is another program
        on that machine, and stays out.
        """
        page = host_name(netloc)
        if page not in self.hosts or is_loopback(page) or page == host:
            return False
        return netloc in (page, f"[{page}]") or netloc in self.ports

    def check_read(self, headers: Mapping[str, str]) -> None:
        """For safe methods: another site may link to us, but not embed or fetch. Raises Forbidden."""
        if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return
        if headers.get("sec-fetch-mode") == "navigate" or self.cors_allows(headers.get("origin", "")):
            return
        raise _refused(headers.get("origin", "another site"))


def _netloc(origin: str) -> str:
    """host[:port] of an origin without the scheme's default port; "" for "null" and nonsense."""
    try:
        parts = urlsplit(origin)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        port = parts.port
    except ValueError:
        return ""
    if default is None or not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if port in (None, default) else f"{name}:{port}"


def _refused(who: str) -> Forbidden:
    return Forbidden(
        f"A page of {who[:100]} may not use this server.",
        hint="If it is yours, add its origin with --cors-origins.",
        code="origin_not_allowed",
    )

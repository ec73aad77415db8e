"""The sockets the server listens on, bound before anything else so that the port announced is the port used."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from dataclasses import dataclass

from modules.errors import EnginehouseError, NotReady
from modules.types import Decision

TRIES = 100
_TAKEN = frozenset(
    {errno.EADDRINUSE, errno.EACCES, getattr(errno, "WSAEADDRINUSE", -1), getattr(errno, "WSAEACCES", -1)}
)


class CannotListen(EnginehouseError):
    """The address cannot be bound."""

    status, code = 500, "cannot_listen"


@dataclass(frozen=True, slots=True)
class Bound:
    """Bound sockets, all on the same port. `why` says how the port was chosen when it is not the one asked for."""

    sockets: tuple[socket.socket, ...]
    host: str
    port: Decision[int]

    @property
    def url(self) -> str:
        """The address to open on this machine."""
        name = "localhost" if self.host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::") else self.host
        return f"http://[{name}]:{self.port.value}" if ":" in name else f"http://{name}:{self.port.value}"

    def close(self) -> None:
        """Give the port back."""
        for one in self.sockets:
            one.close()


def bind(host: str, port: int) -> Bound:
    """Bind `host`:`port`, or the next free port, or any for 0. Raises CannotListen, NotReady when all are taken.

    For 127.0.0.1 the same port of ::1 is bound too where there is IPv6: browsers try either for "localhost",
    and another program there would be taken for us.
    """
    if port == 0:
        return _any_port(host)
    for number in range(port, min(port + TRIES, 65536)):
        sockets = _all(host, number)
        if sockets:
            why = "" if number == port else f"Port {port} is taken, using {number}."
            return Bound(sockets, host, Decision(number, why))
    raise NotReady(f"The ports from {port} on are all taken.", hint="Choose another one with --port.", code="no_port")


def _any_port(host: str) -> Bound:
    for _ in range(TRIES):
        first = _one(host, 0)
        if first is None:
            break
        number = int(first.getsockname()[1])
        rest = _rest(host, number)
        if rest is not None:
            return Bound((first, *rest), host, Decision(number, "Any free port was asked for."))
        first.close()
    raise NotReady("No port is free.", code="no_port")


def _all(host: str, port: int) -> tuple[socket.socket, ...]:
    first = _one(host, port)
    if first is None:
        return ()
    rest = _rest(host, port)
    if rest is None:
        first.close()
        return ()
    return (first, *rest)


def _rest(host: str, port: int) -> tuple[socket.socket, ...] | None:
    """The socket for ::1 beside 127.0.0.1: () where there is no IPv6, None when its port is taken."""
    if host not in ("127.0.0.1", "localhost") or not socket.has_ipv6:
        return ()
    with contextlib.suppress(CannotListen):
        second = _one("::1", port)
        return None if second is None else (second,)
    return ()


def _one(host: str, port: int) -> socket.socket | None:
    """A bound socket, None when the port is taken. Raises CannotListen for an address that is not ours."""
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = None
    try:
        # The protocol is named because asyncio switches Nagle's algorithm off only then: 44 ms an answer otherwise.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if sys.platform == "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host != "::" else 0)
        made.bind((host, port))
    except OSError as error:
        if made is not None:
            made.close()
        if error.errno in _TAKEN:
            return None
        raise CannotListen(
            f"The address {host} cannot be listened on: {error.strerror or error}.",
            hint="Use --host with an address of this computer, or leave it out.",
        ) from error
    made.listen(2048)
    made.setblocking(False)
    return made


def network_address() -> str:
    """This machine's address in its network, "" when it has none. Sends nothing."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1: connecting a datagram socket only picks the interface
        return str(probe.getsockname()[0])
    except OSError:
        return ""
    finally:
        probe.close()

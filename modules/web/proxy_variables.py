"""Proxy environment variables that httpx cannot use, taken out of the environment.

httpx reads http_proxy, https_proxy, all_proxy and no_proxy whenever a client is made, and raises for a
value it cannot use: a SOCKS proxy without its extra package, `socks://` (what GNOME writes), an IPv6
network in no_proxy. Gradio makes a client when it is imported, so one such value would take the web page
away. Neither the page nor the engines go through a proxy; a value that httpx can use stays, for extensions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from urllib.request import getproxies

NAMES = ("http_proxy", "https_proxy", "all_proxy")
EXCEPTIONS = "no_proxy"
EVERYTHING = "*"


def drop_unusable_proxies(environ: MutableMapping[str, str] = os.environ) -> tuple[str, ...]:
    """Remove what httpx cannot use. Returns the names of the variables that were removed or shortened.

    Call it before any thread is started: the variables are tried one by one in the process's own
    environment, which is the only place httpx reads them from. Without proxies it costs nothing; with
    them, the import of httpx.
    """
    if not getproxies() or _client_can_be_made():
        return ()
    given = {name: value for name, value in environ.items() if name.lower() in (*NAMES, EXCEPTIONS)}
    usable = {name: _usable_part(environ, name, value) for name, value in given.items()}
    for name in given:
        del environ[name]
    environ.update({name: value for name, value in usable.items() if value})
    if not _client_can_be_made():  # proxies of the system (the registry of Windows), which count where no variable is
        environ[EXCEPTIONS] = EVERYTHING
        return (*(name for name in given if usable[name] != given[name]), "the system's proxy settings")
    return tuple(name for name in given if usable[name] != given[name])


def _usable_part(environ: MutableMapping[str, str], name: str, value: str) -> str:
    """What httpx can use of one variable: of no_proxy the entries it can read, of the others all or nothing."""
    entries = value.split(",") if name.lower() == EXCEPTIONS else [value]
    good = []
    for entry in entries:
        with _only(environ, name.lower(), entry):
            if _client_can_be_made():
                good.append(entry)
    return ",".join(good)


@contextmanager
def _only(environ: MutableMapping[str, str], name: str, value: str) -> Iterator[None]:
    """The environment with this proxy variable and no other."""
    saved = {key: text for key, text in environ.items() if key.lower() in (*NAMES, EXCEPTIONS)}
    for key in saved:
        del environ[key]
    environ[name] = value
    try:
        yield
    finally:
        del environ[name]
        environ.update(saved)


def _client_can_be_made() -> bool:
    """Whether httpx makes a client in this environment. It raises ImportError, ValueError and errors of its own."""
    import httpx

    try:
        # verify=False: no certificate is read, as nothing is sent.
        httpx.Client(verify=False).close()
    except Exception:
        return False
    return True

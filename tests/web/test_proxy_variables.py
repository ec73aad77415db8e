"""Proxy variables: what httpx cannot use is removed, the rest stays, and the page opens."""

from __future__ import annotations

import os

import httpx
import pytest

from modules.web.proxy_variables import drop_unusable_proxies


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    # What the function itself sets has to be gone after the test as well.
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.delenv("no_proxy")


@pytest.mark.parametrize("upper", [False, True], ids=["lower case", "upper case"])
@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("all_proxy", "socks5://127.0.0.1:9", None),
        ("all_proxy", "socks://127.0.0.1:9", None),
        ("https_proxy", "socks4a://10.0.0.1:1080", None),
        ("http_proxy", "http://host:notaport", None),
        ("http_proxy", "http://[::1", None),
        ("https_proxy", "ftp://proxy.example", None),
        ("no_proxy", "localhost,127.0.0.0/8,::1,fd00::/8", "localhost,127.0.0.0/8,::1"),
        ("no_proxy", "fd00::/8", None),
        ("no_proxy", "a:b:c,localhost", "localhost"),
        ("http_proxy", "http://proxy.example:3128", "http://proxy.example:3128"),
        ("no_proxy", "*", "*"),
    ],
)
def test_only_what_httpx_cannot_use_is_removed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, left: str | None, upper: bool
) -> None:
    name = name.upper() if upper else name
    monkeypatch.setenv(name, value)
    if left != value:
        with pytest.raises((ImportError, ValueError, httpx.InvalidURL)):
            httpx.Client()
    assert drop_unusable_proxies() == ((name,) if left != value else ())
    assert os.environ.get(name) == left
    httpx.Client().close()


def test_a_proxy_that_works_stays_beside_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What GNOME writes for a machine with an HTTP and a SOCKS proxy."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("all_proxy", "socks://proxy.example:1080")
    monkeypatch.setenv("NO_PROXY", "localhost,fd00::/8")
    assert set(drop_unusable_proxies()) == {"all_proxy", "NO_PROXY"}
    assert os.environ["https_proxy"] == "http://proxy.example:3128"
    assert os.environ["NO_PROXY"] == "localhost"
    assert "all_proxy" not in os.environ


def test_proxies_of_the_system_that_httpx_cannot_use_are_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows gives a SOCKS proxy of its registry as socks4://; a variable takes the registry's place."""
    system = {"http": "socks4://127.0.0.1:9"}
    import urllib.request

    def registry_or_environment() -> dict[str, str]:
        return urllib.request.getproxies_environment() or system

    monkeypatch.setattr("modules.web.proxy_variables.getproxies", registry_or_environment)
    monkeypatch.setattr("httpx._utils.getproxies", registry_or_environment)
    assert drop_unusable_proxies() == ("the system's proxy settings",)
    httpx.Client().close()

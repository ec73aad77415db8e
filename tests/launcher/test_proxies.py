"""Proxy variables at a download: one that works is used, one that cannot is left out and named."""

from __future__ import annotations

import io
import urllib.request

import pytest

from modules.launcher.console import Console
from modules.launcher.download import DownloadFailed, make_opener
from modules.launcher.proxies import is_http, unusable_proxies, usable_environ
from tests.launcher.conftest import Checkout


@pytest.mark.parametrize(
    "value", ["http://proxy.example:3128", "https://user:secret@proxy.example", "proxy.example:3128", "http://[::1]:80"]
)
def test_the_address_of_an_http_proxy_is_passed_on(value: str) -> None:
    assert is_http(value)
    assert usable_environ({"https_proxy": value, "HOME": "/"}) == {"https_proxy": value, "HOME": "/"}


@pytest.mark.parametrize(
    "value", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9", "http://host:port", "http://[::1", "http://", "ftp://x"]
)
def test_what_is_none_is_left_out(value: str) -> None:
    environ = {"ALL_PROXY": value, "http_proxy": "http://proxy.example:1", "no_proxy": "fd00::/8"}
    assert unusable_proxies(environ) == ("ALL_PROXY",)
    assert usable_environ(environ) == {key: text for key, text in environ.items() if key != "ALL_PROXY"}


def test_an_installation_goes_on_without_it_and_says_so_once(ready: Checkout) -> None:
    ready.environ["all_proxy"] = ready.environ["HTTPS_PROXY"] = ready.environ["http_proxy"] = "socks5://127.0.0.1:9"
    del ready.environ["no_proxy"]
    out = io.StringIO()
    installer = ready.installer(Console(out))
    installer.install_file(ready.layout.requirements("base"))
    installer.install_file(ready.layout.requirements("base"))
    assert ready.installed("import greeting; print(greeting.WORD)") == "hello"
    assert out.getvalue().count("is not the address of an HTTP proxy") == 1
    assert "all_proxy" in out.getvalue()


def test_the_launchers_own_downloads_leave_it_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        urllib.request, "getproxies", lambda: {"https": "socks4://127.0.0.1:9", "http": "http://proxy.example:1"}
    )
    handlers = [handler for handler in make_opener().handlers if isinstance(handler, urllib.request.ProxyHandler)]
    assert [vars(handler)["proxies"] for handler in handlers] == [{"http": "http://proxy.example:1"}]
    with pytest.raises(DownloadFailed, match="HTTP proxy"):
        make_opener(proxy="socks5://127.0.0.1:9")

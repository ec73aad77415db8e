"""The outermost layer, in process: which hosts and origins are let in, and what every answer carries."""

from __future__ import annotations

import pytest

from modules.api.auth import Auth
from tests.api.guarding import KEY, ask, guard, open_socket

# ── host names ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST:1", "localhost."]
)
def test_loopback_names_are_answered(host: str) -> None:
    assert ask(guard(), headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.168.1.5", "", "[::1", "a b", "0.0.0.0"]
)
def test_a_rebound_dns_name_is_refused_on_loopback(host: str) -> None:
    answer = ask(guard(), headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "host_not_allowed"


def test_a_server_that_listens_takes_addresses_but_no_foreign_names() -> None:
    listening = guard(KEY, bind="0.0.0.0")
    assert ask(listening, headers={"host": "192.168.1.5:7860", "x-api-key": KEY}).status_code == 200
    assert ask(listening, headers={"host": "evil.example:7860", "x-api-key": KEY}).status_code == 403


def test_an_allowed_host_is_answered() -> None:
    assert ask(guard(hosts=("workshop.local",)), headers={"host": "workshop.local:7860"}).status_code == 200


CONTAINERS = ["host.docker.internal:7860", "host.containers.internal", "workshop.local:7860", "HOST.docker.INTERNAL."]


@pytest.mark.parametrize("host", CONTAINERS)
@pytest.mark.parametrize("agent", ["curl/8.5.0", "Python/3.12 aiohttp/3.11", "node", ""])
def test_a_program_in_a_container_may_use_a_private_name(host: str, agent: str) -> None:
    headers = {"host": host, "user-agent": agent}
    assert ask(guard(), headers=headers).status_code == 200
    assert (
        ask(guard(), "POST", headers={**headers, "accept-language": "*", "sec-fetch-mode": "cors"}).status_code == 200
    )
    assert open_socket(guard(), headers)[-1]["type"] == "websocket.accept"
    assert ask(guard(KEY), headers=headers).status_code == 401


@pytest.mark.parametrize("host", CONTAINERS)
@pytest.mark.parametrize(
    "more",
    [{"user-agent": "Mozilla/5.0 (X11; Linux)"}, {"sec-fetch-site": "same-origin"}, {"cookie": "a=b"},
     {"referer": "http://workshop.local:7860/"}, {"origin": "http://workshop.local:7860"}, {"origin": "https://evil.example"}],
)  # fmt: skip
def test_a_browser_may_not_unless_the_name_is_in_the_settings(host: str, more: dict[str, str]) -> None:
    assert ask(guard(), headers={"host": host, **more}).status_code == 403
    assert open_socket(guard(), {"host": host, **more})[0]["type"] == "websocket.close"


@pytest.mark.parametrize("host", ["evilinternal", "internal", "x.internal.evil.example", "local", "docker.internal:x"])
def test_a_name_that_only_looks_private_is_refused(host: str) -> None:
    assert ask(guard(), headers={"host": host}).status_code == 403


def test_every_name_below_localhost_is_this_machine_but_pages_there_are_other_sites() -> None:
    assert ask(guard(), headers={"host": "app.localhost:7860", "user-agent": "Mozilla/5.0"}).status_code == 200
    headers = {"host": "localhost:7860", "origin": "http://app.localhost:3000"}
    assert ask(guard(), "POST", headers=headers).status_code == 403


# ── origins ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:7860"},
        {"origin": "http://localhost:7860.evil.example"},
        {"origin": "file://"},
        {"origin": "http://localhost:99999999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_cannot_change_anything(method: str, headers: dict[str, str]) -> None:
    answer = ask(guard(), method, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "origin_not_allowed"


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://localhost:7860"}, {"origin": "http://localhost:7860", "sec-fetch-site": "same-origin"}],
)
def test_the_own_page_and_programs_without_an_origin_may(headers: dict[str, str]) -> None:
    assert ask(guard(), "POST", headers=headers).status_code == 200


def test_a_page_behind_a_proxy_with_an_allowed_name_may() -> None:
    proxied = guard(hosts=("chat.example.org",))
    assert ask(proxied, "POST", headers={"origin": "https://chat.example.org"}).status_code == 200


def test_another_program_on_an_allowed_host_is_still_another_site() -> None:
    named = guard(hosts=("workshop.local",))
    headers = {"host": "workshop.local:7860", "origin": "http://workshop.local:3000"}
    assert ask(named, "POST", headers=headers).status_code == 403


def test_another_port_of_an_allowed_name_is_another_site_also_when_asked_by_another_name() -> None:
    headers = {"host": "localhost:7860", "origin": "http://workshop.local:9999"}
    assert ask(guard(hosts=("workshop.local",)), "POST", headers=headers).status_code == 403
    assert open_socket(guard(hosts=("workshop.local",)), headers)[0]["type"] == "websocket.close"
    assert ask(guard(hosts=("workshop.local:8443",)), "POST", headers=headers).status_code == 403


def test_a_proxy_may_show_the_page_at_a_port_the_owner_named() -> None:
    headers = {"origin": "https://Workshop.local:9999"}
    assert ask(guard(hosts=("workshop.local:9999",)), "POST", headers=headers).status_code == 200
    assert ask(guard(hosts=("[fd00::5]",)), "POST", headers={"origin": "http://[fd00::5]"}).status_code == 200


def test_two_servers_on_one_host_keep_their_sessions_apart() -> None:
    assert Auth("one").cookie != Auth("another").cookie


def test_another_site_may_link_here_but_not_embed_or_fetch() -> None:
    assert ask(guard(), headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200
    assert ask(guard(), headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403


def test_cors_is_closed_and_opens_for_the_origins_set() -> None:
    page = {"origin": "https://friend.example", "sec-fetch-site": "cross-site"}
    assert "access-control-allow-origin" not in ask(guard(), headers=page).headers
    friendly = guard(origins=("https://friend.example/",))
    answer = ask(friendly, "POST", headers=page)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"
    asked = {**page, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    preflight = ask(friendly, "OPTIONS", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    assert ask(friendly, "POST", headers={"origin": "https://other.example"}).status_code == 403


def test_every_origin_is_allowed_only_together_with_a_key() -> None:
    page = {"origin": "https://any.example"}
    assert ask(guard(origins=("*",)), "POST", headers=page).status_code == 403
    assert ask(guard(KEY, origins=("*",)), "POST", headers={**page, "x-api-key": KEY}).status_code == 200


# ── headers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("headers", [{}, {"host": "evil.example"}])
def test_every_answer_carries_the_security_headers(headers: dict[str, str]) -> None:
    found = ask(guard(), headers=headers).headers
    assert found["x-content-type-options"] == "nosniff"
    assert found["x-frame-options"] == "DENY"
    assert found["referrer-policy"] == "no-referrer"
    policy = found["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy

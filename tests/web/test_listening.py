"""Ports: the one asked for, the next free one, and none."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.web.listening import TRIES, Bound, CannotListen, bind
from modules.web.run_file import RunFile


@contextlib.contextmanager
def taken(host: str = "127.0.0.1") -> Iterator[int]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        try:
            other.bind((host, 0))
        except OSError as error:
            pytest.skip(f"this machine has no {host}: {error}")
        other.listen()
        yield other.getsockname()[1]


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[Bound]:
    found = bind(host, port)
    yield found
    found.close()


def test_any_free_port_is_found_and_accepts_connections_at_once() -> None:
    with bound("127.0.0.1", 0) as found:
        assert found.port.value > 0
        socket.create_connection(("127.0.0.1", found.port.value), 2).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_taken_on_either_loopback_address_is_left(host: str) -> None:
    with taken(host) as port, bound("127.0.0.1", port) as found:
        assert port < found.port.value < port + TRIES
        assert found.port.why == f"Port {port} is taken, using {found.port.value}."


def test_the_port_asked_for_needs_no_explanation() -> None:
    for _ in range(5):  # somebody else may take the port before it is asked for
        with taken() as port:
            pass
        with bound("127.0.0.1", port) as found:
            assert (found.port.value == port) is (found.port.why == "")
            assert found.url == f"http://localhost:{found.port.value}"
            if found.port.value == port:
                return
    pytest.fail("the port asked for was never taken")


def test_two_servers_never_share_a_port() -> None:
    with bound("127.0.0.1", 0) as first, bound("127.0.0.1", first.port.value) as second:
        assert first.port.value != second.port.value


def test_every_socket_of_a_server_has_the_same_port() -> None:
    with bound("localhost", 0) as found:
        assert {one.getsockname()[1] for one in found.sockets} == {found.port.value}


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_the_run_file_is_only_removed_by_the_server_it_names(tmp_path: Path) -> None:
    file = RunFile(tmp_path / "run.json")
    file.write("http://localhost:1", 1)
    facts = json.loads(file.path.read_text())
    assert facts["pid"] == os.getpid()
    file.path.write_text(json.dumps({**facts, "pid": facts["pid"] + 1}))
    file.remove()
    assert file.path.exists()
    file.write("http://localhost:1", 1)
    file.remove()
    assert not file.path.exists()
    file.remove()

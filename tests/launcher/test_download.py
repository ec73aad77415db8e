"""The download against servers that drop, stall, lie and refuse."""

from __future__ import annotations

import hashlib
import random
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modules.launcher.download import DownloadFailed, Known, Patience, fetch, make_opener, without_secrets
from tests.launcher import bad_server as bad

DATA = random.Random(1).randbytes(1_000_000)
QUICK = Patience(stall_s=20, tries=3, pause_s=0.01)
HASTY = Patience(stall_s=1.0, tries=3, pause_s=0.01)
Serve = Callable[..., bad.BadServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(*behaviours: bad.Behaviour) -> bad.BadServer:
        servers.append(bad.BadServer(DATA, behaviours))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def known(url: str) -> Known:
    return Known(url, len(DATA), hashlib.sha256(DATA).hexdigest())


def get(server: bad.BadServer, part: Path, patience: Patience = QUICK) -> list[str]:
    """Fetch with few pauses; gives back what the person was told."""
    told: list[str] = []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    fetch(known(server.url), part, opener, on_trouble=told.append, patience=patience)
    assert part.read_bytes() == DATA
    return told


def test_a_good_server_needs_one_request(serve: Serve, tmp_path: Path) -> None:
    server = serve(bad.well)
    assert get(server, tmp_path / "f.part") == []
    assert server.ranges == [""]


def test_a_dropped_connection_is_continued_where_it_broke_off(serve: Serve, tmp_path: Path) -> None:
    server = serve(bad.drops_after(300_000), bad.drops_after(300_000), bad.well)
    told = get(server, tmp_path / "f.part")
    assert server.ranges == ["", "bytes=300000-", "bytes=600000-"]
    assert "300,000 of 1,000,000" in told[0]


def test_what_an_earlier_run_left_is_continued(serve: Serve, tmp_path: Path) -> None:
    part = tmp_path / "f.part"
    part.write_bytes(DATA[:123_456])
    server = serve(bad.well)
    get(server, part)
    assert server.ranges == ["bytes=123456-"]


@pytest.mark.parametrize("behaviour", [bad.ignores_the_range, bad.sends_another_range])
def test_a_server_that_sends_the_whole_file_again_does_not_spoil_it(
    serve: Serve, tmp_path: Path, behaviour: bad.Behaviour
) -> None:
    part = tmp_path / "f.part"
    part.write_bytes(DATA[:400_000])
    server = serve(behaviour)
    assert get(server, part) == []
    assert len(server.ranges) == 1


def test_a_server_without_ranges_that_drops_loses_nothing_already_here(serve: Serve, tmp_path: Path) -> None:
    part = tmp_path / "f.part"
    part.write_bytes(DATA[:900_000])

    def whole_but_short(handler, data) -> None:  # type: ignore[no-untyped-def]
        bad._head(handler, data, 0)
        handler.wfile.write(data[:500_000])
        handler.close_connection = True

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(DownloadFailed, match="gave up after 3 tries"):
        fetch(known(serve(whole_but_short).url), part, opener, patience=QUICK)
    assert part.stat().st_size == 900_000


def test_a_wrong_beginning_from_elsewhere_is_thrown_away_and_fetched_anew(serve: Serve, tmp_path: Path) -> None:
    part = tmp_path / "f.part"
    part.write_bytes(b"z" * 500_000)
    server = serve(bad.well)
    told = get(server, part)
    assert server.ranges == ["bytes=500000-", ""]
    assert "not the expected file" in told[0]


def test_a_part_longer_than_the_file_is_thrown_away(serve: Serve, tmp_path: Path) -> None:
    part = tmp_path / "f.part"
    part.write_bytes(b"z" * 1_500_000)
    server = serve(bad.well)
    get(server, part)
    assert server.ranges == [""]


def test_wrong_content_is_never_accepted(serve: Serve, tmp_path: Path) -> None:
    server = serve(bad.wrong_content)
    with pytest.raises(DownloadFailed, match="SHA-256"):
        get(server, tmp_path / "f.part")
    assert not (tmp_path / "f.part").exists()
    assert len(server.ranges) == 2


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_final_and_named(serve: Serve, tmp_path: Path, code: int) -> None:
    server = serve(bad.status(code))
    with pytest.raises(DownloadFailed, match=str(code)) as caught:
        get(server, tmp_path / "f.part")
    assert caught.value.http_status == code
    assert len(server.ranges) == 1


def test_a_server_error_is_tried_again(serve: Serve, tmp_path: Path) -> None:
    told = get(serve(bad.status(500), bad.status(503), bad.well), tmp_path / "f.part")
    assert [text.split(";")[0] for text in told] == [
        "the server answered 500 Internal Server Error",
        "the server answered 503 Service Unavailable",
    ]


def test_a_server_that_stays_broken_ends_in_a_failure_and_keeps_the_part(serve: Serve, tmp_path: Path) -> None:
    server = serve(bad.drops_after(200_000), bad.status(500))
    with pytest.raises(DownloadFailed, match="gave up after 3 tries"):
        get(server, tmp_path / "f.part")
    assert (tmp_path / "f.part").stat().st_size == 200_000


def test_a_stalled_connection_is_given_up_and_continued(serve: Serve, tmp_path: Path) -> None:
    server = serve(bad.stalls_after(250_000, 60), bad.well)
    told = get(server, tmp_path / "f.part", HASTY)
    assert told[0].startswith("no data arrived for too long")
    assert server.ranges[1] == "bytes=250000-"


def test_a_length_that_is_too_small_is_not_believed(serve: Serve, tmp_path: Path) -> None:
    server = serve(bad.promises_too_little, bad.promises_too_little, bad.well)
    get(server, tmp_path / "f.part")
    assert server.ranges == ["", "bytes=500000-", "bytes=750000-"]


def test_a_server_that_sends_more_than_the_file_is_cut_off(serve: Serve, tmp_path: Path) -> None:
    assert get(serve(bad.sends_too_much), tmp_path / "f.part") == []


def test_a_range_the_server_cannot_satisfy_starts_over(serve: Serve, tmp_path: Path) -> None:
    part = tmp_path / "f.part"
    part.write_bytes(DATA[:100])
    server = serve(bad.status(416), bad.well)
    get(server, part)
    assert server.ranges == ["bytes=100-", ""]


def test_nobody_listening_is_a_failure_in_words(tmp_path: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(DownloadFailed, match="the connection failed"):
        fetch(known("http://127.0.0.1:9/file"), tmp_path / "f.part", opener, patience=QUICK)


def test_a_file_address_is_copied(tmp_path: Path) -> None:
    (tmp_path / "source.whl").write_bytes(DATA)
    part = tmp_path / "f.part"
    part.write_bytes(DATA[:10])
    fetch(known((tmp_path / "source.whl").as_uri()), part, make_opener(), patience=QUICK)
    assert part.read_bytes() == DATA


def test_a_place_that_cannot_be_written_is_named(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="missing"):
        get(serve(bad.well), tmp_path / "missing" / "f.part")


def test_addresses_are_shown_without_logins() -> None:
    assert without_secrets("https://me:secret@host:8080/a/b.whl?key=1#x") == "https://host:8080/a/b.whl"

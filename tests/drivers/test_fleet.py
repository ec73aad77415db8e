"""Several servers as one engine: with small servers that misbehave, and with several real ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from loaders.openai_endpoint import SPEC
from modules.drivers.cache_affinity import BLOCK, REMEMBERED, Prefixes, chain
from modules.drivers.connect import connect
from modules.drivers.fleet import Fleet, Member
from modules.drivers.health import Health
from modules.errors import EngineError, NotReady
from modules.types import EngineInfo, GenerationRequest, Message, Notice, Text
from tests.drivers.openai_making import (
    DONE,
    END,
    GOOD,
    STREAM,
    Asked,
    Fake,
    chunk,
    driver,
    faking,
    giving,
    piece,
    plain,
    saying,
)  # fmt: skip
from tests.engine.making import MODEL, ask, collect, done_of, failed_of, real, text_of, until, worker

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


def chat(*texts: str) -> GenerationRequest:
    """A conversation, the person first."""
    roles = ("user", "assistant")
    return GenerationRequest("t", messages=tuple(Message(roles[at % 2], one) for at, one in enumerate(texts)))  # type: ignore[arg-type]


def fleet_of(*fakes: Fake, slots: int = 2, quick: bool = True) -> Fleet:
    servers = [driver(fake.url, "vllm", slots=slots, key="") for fake in fakes]
    for server in servers:
        server.info = replace(server.info, slots=slots)
    pairs = []
    for server in servers:
        assert server.info.endpoint is not None
        pairs.append((server, Health(server.info.endpoint)))
    fleet = Fleet(pairs, EngineInfo("m", "x", 1000, slots * len(fakes), renders_templates=False), SPEC)
    if quick:
        fleet.check_up, fleet.check_first, fleet.check_last = 0.1, 0.05, 0.2
    return fleet


@asynccontextmanager
async def two(first: object = GOOD, second: object = GOOD) -> AsyncIterator[tuple[Fake, Fake, Fleet]]:
    async with faking(first) as one, faking(second) as other:  # type: ignore[arg-type]
        fleet = fleet_of(one, other)
        try:
            yield one, other, fleet
        finally:
            await fleet.close()


def codes(chunks: list[object]) -> list[str]:
    return [one.code for one in chunks if isinstance(one, Notice)]


async def test_a_conversation_stays_where_it_was_read_and_new_ones_take_turns() -> None:
    async with two() as (one, other, fleet):
        texts = ["Tell me a story"]
        done_of(await collect(fleet, chat(*texts)))
        assert (len(one.asked), len(other.asked)) == (1, 0)
        for turn in range(3):
            texts += ["Hello", f"and then {turn}?"]
            done_of(await collect(fleet, chat(*texts)))
        assert (len(one.asked), len(other.asked)) == (4, 0)
        for number in range(4):
            done_of(await collect(fleet, chat(f"another {number}")))
        assert (len(one.asked), len(other.asked)) == (6, 2)


async def test_requests_at_the_same_time_are_spread() -> None:
    gate = asyncio.Event()

    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await GOOD(asked, writer)

    async with two(slow, slow) as (one, other, fleet):
        tasks = [asyncio.create_task(collect(fleet, chat(f"number {number}"))) for number in range(4)]
        await until(lambda: len(one.asked) + len(other.asked) == 4)
        assert (len(one.asked), len(other.asked)) == (2, 2)
        gate.set()
        for task in tasks:
            done_of(await task)


def test_affinity_gives_way_to_a_server_that_has_much_less_to_do() -> None:
    class Still:
        info = EngineInfo("m", "x", 10, 4)

    def member() -> Member:
        return Member(Still(), Health(driver("http://127.0.0.1:1").info.endpoint))  # type: ignore[arg-type]

    loop = asyncio.new_event_loop()
    try:
        fleet = Fleet([], EngineInfo("m", "x", 10), SPEC)
        home, away = member(), member()
        fleet.members = [home, away]
        hashes = chain(chat("a", "b", "c"))
        home.read.add(hashes)
        for running, wanted in ((0, home), (2, home), (3, away), (4, away)):
            home.running = running
            chosen = fleet._choose(hashes)
            assert chosen.value is wanted, running
            assert chosen.why
        home.running, away.running = 4, 3
        assert fleet._choose(hashes).value is away, "one waits, the other has a free place"
        away.running = 4
        assert fleet._choose(hashes).value is home
        home.down = EngineError("gone")
        assert fleet._choose(hashes).value is away
    finally:
        loop.close()


async def test_a_server_that_is_gone_is_passed_over_and_that_is_said_once() -> None:
    async with two() as (one, other, fleet):
        fleet.members[0].server._http._port = 1  # type: ignore[attr-defined]
        fleet.members[0].health._http._port = 1
        first = await collect(fleet, chat("Hi"))
        assert text_of(first) == "Hello"
        assert codes(first) == ["server_changed"]
        assert codes(await collect(fleet, chat("Hi"))) == []
        assert not one.asked
        assert len(other.asked) == 2


async def test_a_server_that_dies_in_a_reply_keeps_the_text_and_the_next_message_goes_elsewhere() -> None:
    dying = saying(piece("half of it"), end=b"")
    async with two(dying, dying) as (one, other, fleet):
        chunks = await collect(fleet, chat("Hi"))
        assert text_of(chunks) == "half of it"
        assert failed_of(chunks).error["code"] == "engine_unreachable"
        broken, whole = (one, other) if one.asked else (other, one)
        broken.healthy = False
        whole.answer = GOOD
        again = await collect(fleet, chat("Hi"))
        assert text_of(again) == "Hello"
        assert codes(again) == ["server_changed"]
        assert whole.asked


async def test_all_of_them_gone_is_told_and_they_come_back_by_themselves() -> None:
    down = giving(plain(b"<html>Bad Gateway</html>", 502))
    async with two(down, down) as (one, other, fleet):
        one.healthy = other.healthy = False
        error = failed_of(await collect(fleet, chat("Hi"))).error
        assert (error["code"], error["status"]) == ("fleet_down", 503)
        assert one.url.removeprefix("http://") in error["message"]
        assert error["hint"]
        with pytest.raises(NotReady):
            await fleet.tokenize("x")
        one.answer = GOOD
        one.healthy = True
        await until(lambda: any(member.down is None for member in fleet.members))
        assert text_of(await collect(fleet, chat("Hi"))) == "Hello"


async def test_a_server_that_goes_while_nobody_asks_is_noticed() -> None:
    async with two() as (one, other, fleet):
        done_of(await collect(fleet, chat("Hi")))
        one.healthy = False
        await until(lambda: fleet.members[0].down is not None)
        other_before = len(other.asked)
        done_of(await collect(fleet, chat("Something else")))
        assert len(other.asked) == other_before + 1
        one.healthy = True
        await until(lambda: fleet.members[0].down is None)


async def test_looking_at_a_server_that_is_down_gets_rarer() -> None:
    async with two() as (one, _, fleet):
        fleet.check_first, fleet.check_last = 0.02, 0.2
        one.healthy = False
        fleet.members[0].down = EngineError("gone")
        looks: list[float] = []
        check = fleet.members[0].health.check

        async def counted() -> object:
            looks.append(asyncio.get_running_loop().time())
            return await check()

        fleet.members[0].health.check = counted  # type: ignore[method-assign,assignment]
        fleet._watch()
        await until(lambda: len(looks) >= 6)
        assert looks[5] - looks[4] > looks[1] - looks[0]


async def test_a_fault_of_the_request_is_not_tried_elsewhere() -> None:
    refusing = giving(plain({"error": {"message": "bad thing"}}, 400))
    async with two(refusing, refusing) as (one, other, fleet):
        assert failed_of(await collect(fleet, chat("Hi"))).error["status"] == 400
        assert len(one.asked) + len(other.asked) == 1
        assert all(member.down is None for member in fleet.members)


async def test_hanging_up_frees_the_place_and_goes_to_nobody_else() -> None:
    async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(chunk(piece("a ")))
                await writer.drain()
                await asyncio.sleep(0.01)

    async with two(endless, endless) as (one, other, fleet):
        stream = fleet.generate(chat("Hi"))
        assert isinstance(await anext(stream), Text)
        await stream.aclose()
        assert [member.running for member in fleet.members] == [0, 0]
        assert len(one.asked) + len(other.asked) == 1


async def test_many_faults_lose_no_reply_and_no_place() -> None:
    """Every request ends with exactly one Done or Failed, and nothing is counted as running afterwards."""
    kinds = [GOOD, saying(piece("x"), end=b""), giving(plain({}, 503)), giving(b"rubbish"),
             saying(piece("x", "stop"), DONE), giving(plain(b"<html>", 200))]  # fmt: skip
    turn = 0

    async def random(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        await kinds[turn * 7 % len(kinds)](asked, writer)

    async with two(random, random) as (_, _, fleet):
        for start in range(0, 300, 10):
            several = (collect(fleet, chat(f"number {start + number}")) for number in range(10))
            for chunks in await asyncio.gather(*several):
                assert type(chunks[-1]).__name__ in ("Done", "Failed")
        assert [member.running for member in fleet.members] == [0, 0]


def test_what_was_read_is_bounded_and_exact() -> None:
    read = Prefixes()
    first = chain(chat("a", "b", "c"))
    read.add(first)
    assert read.shared(chain(chat("a", "b", "c", "d", "e"))) == 3
    assert read.shared(chain(chat("a", "x"))) == 1
    assert read.shared(chain(chat("ab"))) == 0
    for number in range(REMEMBERED + 10):
        read.add(chain(chat(str(number))))
    assert read.shared(first) == 0
    text = "word " * BLOCK
    read.add(chain(ask(text)))
    assert read.shared(chain(ask(text + "more"))) >= 4
    assert chain(ask(tuple(range(3 * BLOCK))))[:2] == chain(ask((*range(2 * BLOCK), 7)))[:2]
    assert len(chain(ask("short"))) == 1


needs_model = pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")


@pytest.mark.real_model
@needs_model
@pytest.mark.parametrize("flavour", ["llama-server", "openai"])
async def test_two_real_servers_one_of_which_is_killed(tmp_path: Path, flavour: str) -> None:
    async with AsyncExitStack() as stack:
        hosts = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            hosts.append(await stack.enter_async_context(real(tmp_path / name, context=512, parallel=2)))
        endpoints = [engine.info.endpoint for engine, _ in hosts]
        # Each of ours has a key of its own, and servers of one file share one: a header cannot stand in for it.
        path = tmp_path / "pair.endpoint.yaml"
        values = {"urls": [one.url for one in endpoints], "key": endpoints[0].key, "flavour": flavour, "context": 512}
        path.write_text(json.dumps(values))
        process = worker(tmp_path, SPEC, str(path))
        stack.push_async_callback(process.stop)
        info = await process.start()
        assert info.endpoint is not None
        assert "it does not take the key" in str(info.details["servers"])
        parts = [replace(info.endpoint, key=one.key, url=one.url, more=()) for one in endpoints]
        fleet = connect(process, replace(info, endpoint=replace(parts[0], more=(parts[1],))), SPEC)
        assert isinstance(fleet, Fleet)
        stack.push_async_callback(fleet.close)
        fleet.check_first = 0.1
        request = ask("Once upon a time", params={"max_tokens": 200, "ban_eos_token": True})
        chunks, killed = [], False
        async for one in fleet.generate(request):
            chunks.append(one)
            if isinstance(one, Text) and not killed and len(text_of(chunks)) > 20:
                busy = next(at for at, member in enumerate(fleet.members) if member.running)
                os.kill(hosts[busy][1].pid or 0, signal.SIGKILL)
                killed = True
        assert failed_of(chunks).error["code"] == "engine_unreachable"
        assert len(text_of(chunks)) > 20
        again = await collect(fleet, replace(request, params={"max_tokens": 12}))
        assert done_of(again).stats.completion_tokens == 12
        assert "server_changed" in codes(again)


async def test_a_server_started_again_at_its_address_is_used_again() -> None:
    async with faking(GOOD) as one:
        async with faking(GOOD) as other:
            fleet = fleet_of(one, other)
            port = int(other.url.rsplit(":", 1)[1])
            done_of(await collect(fleet, chat("Hi")))
        fleet.members[1].server._http._idle.clear()  # type: ignore[attr-defined]
        await until(lambda: fleet.members[1].down is not None)
        async with faking(GOOD, port):
            await until(lambda: fleet.members[1].down is None)
        await fleet.close()


async def test_the_end_of_a_body_that_never_comes_does_not_hold_up_the_reply() -> None:
    async def open_ended(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(piece("Hi", "stop")) + chunk(DONE))
        await writer.drain()
        await asyncio.sleep(1)
        writer.write(END)

    async with two(open_ended, open_ended) as (_, _, fleet):
        begun = asyncio.get_running_loop().time()
        done_of(await collect(fleet, chat("Hi")))
        assert asyncio.get_running_loop().time() - begun < 0.9

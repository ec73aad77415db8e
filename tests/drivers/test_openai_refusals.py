"""What a server of OpenAI's protocol says or does instead of answering, as errors with a next step."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from loaders.openai_endpoint import SPEC
from modules.drivers.llama_server import LlamaServerEngine
from modules.drivers.openai_errors import LONGEST_WAIT
from modules.errors import EnginehouseError
from modules.types import (
    Endpoint,
    EngineInfo,
    GenerationRequest,
    Message,
)  # fmt: skip
from tests.drivers.openai_making import (
    GOOD,
    Asked,
    driver,
    event,
    faking,
    giving,
    plain,
    saying,
)  # fmt: skip
from tests.engine.asking import embed
from tests.engine.making import ask, collect, failed_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def chat(text: str = "Hi", **more: Any) -> GenerationRequest:
    return GenerationRequest(id="test", messages=(Message("user", text),), **more)


async def replied(answer: Any, request: GenerationRequest | None = None, **more: Any) -> list[Any]:
    async with faking(answer) as fake:
        engine = driver(fake.url, **more)
        try:
            return await collect(engine, request or chat())
        finally:
            await engine.close()


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (401, {"error": {"message": "Incorrect key: secret-key"}}, "endpoint_key_refused", "key"),
        (403, {"error": {"message": "no credit"}}, "endpoint_forbidden", "no credit"),
        (404, {"error": {"message": "The model `m` does not exist"}}, "endpoint_not_found", "does not exist"),
        (404, {"detail": "Not Found"}, "endpoint_not_found", "Not Found"),
        (429, {"error": {"message": "Rate limit reached"}}, "rate_limited", "Rate limit"),
        (500, b"<html><head><title>Oops</title></head></html>", "engine_error", "Oops"),
        (502, b"<html><h1>Bad Gateway</h1></html>", "engine_unavailable", "502"),
        (503, {"message": "loading"}, "engine_unavailable", "loading"),
        (302, b"", "endpoint_moved", "another address"),
        (400, {"error": {"message": "bad thing"}}, "bad_request", "bad thing"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "not a number"}]}, "bad_request", "not a number"),
        (400, {"error": {"message": "This model's maximum context length is 1000 tokens. However, you requested 5000",
                         "code": "context_length_exceeded"}}, "context_length_exceeded", "1000"),
        (400, {"object": "error", "message": "The input (5000 tokens) is longer than the model's context length (1000)",
               "code": 400}, "context_length_exceeded", "1000"),
    ],
)  # fmt: skip
async def test_a_refusal_is_told_with_its_next_step(status: int, body: Any, code: str, words: str) -> None:
    error = failed_of(await replied(giving(plain(body, status)))).error
    assert error["code"] == code
    assert words in error["message"]
    assert error["hint"] or code == "bad_request"
    assert "secret-key" not in json.dumps(error)


async def test_a_redirect_is_not_followed() -> None:
    async with faking(GOOD) as elsewhere:
        moved = giving(plain(b"", 307, more=f"Location: {elsewhere.url}/v1/chat/completions\r\n"))
        assert failed_of(await replied(moved)).error["code"] == "endpoint_moved"
        assert elsewhere.connections == 0


async def test_a_key_the_server_repeats_is_not_shown() -> None:
    body = {"error": {"message": "what is secret-key to me"}}
    assert "secret-key" not in json.dumps(dict(failed_of(await replied(giving(plain(body, 400)))).error))
    chunks = await replied(saying(event({"error": {"message": "no, secret-key"}})))
    assert "secret-key" not in json.dumps(dict(failed_of(chunks).error))
    async with faking(giving(plain(body, 400))) as fake:
        endpoint = Endpoint(fake.url, "secret-key", "llama-server", hosted=False)
        engine = LlamaServerEngine(endpoint, EngineInfo("m", "x", 1000, endpoint=endpoint), SPEC)
        assert "secret-key" not in json.dumps(dict(failed_of(await collect(engine, ask("Hi"))).error))
        await engine.close()


def in_seconds(seconds: float) -> str:
    """The date that is so far away, as Retry-After has it."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7), ("0", 0, 0), ("1.5", 1.5, 1.5), ("9" * 60, LONGEST_WAIT, LONGEST_WAIT),
        (3600, 1800, 3600), (-60, 0, 0), ("Sun, 22 Nov 2020 00:00:00", 0, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
async def test_how_long_a_server_wants_to_be_left_alone_is_told(
    status: int, header: str | int, low: float, high: float
) -> None:
    header = in_seconds(header) if isinstance(header, int) else header
    chunks = await replied(giving(plain({"message": "x"}, status, more=f"Retry-After: {header}\r\n")))
    assert low <= failed_of(chunks).error["retry_after"] <= high


@pytest.mark.parametrize(
    ("status", "header"), [(429, "soon"), (429, "-5"), (429, "nan"), (429, "١"), (400, "5"), (429, ""),
                           (429, "Mon, 01 Jan 99999 00:00:00 GMT"),
                           (429, "Mon, 01 Jan 2029 00:00:00 +999999999999999999999")],
)  # fmt: skip
async def test_what_is_no_time_to_wait_is_left_out(status: int, header: str) -> None:
    raw = plain({"message": "x"}, status, more="Retry-After: PLACE\r\n").replace(b"PLACE", header.encode())
    assert "retry_after" not in failed_of(await replied(giving(raw))).error


async def test_a_llama_server_tells_its_time_too() -> None:
    answer = giving(plain({"error": {"message": "busy", "code": 503}}, 503, more="Retry-After: 4\r\n"))
    async with faking(answer) as fake:
        endpoint = Endpoint(fake.url, "", "llama-server", hosted=False)
        info = EngineInfo("m", "x", 1000, endpoint=endpoint, features=("embeddings", "parallel"))
        engine = LlamaServerEngine(endpoint, info, SPEC)
        assert failed_of(await collect(engine, ask("Hi"))).error["retry_after"] == 4.0
        with pytest.raises(EnginehouseError) as caught:
            await embed(engine, ["x"])
        assert caught.value.retry_after == 4.0
        await engine.close()


async def test_a_time_to_wait_is_that_of_its_own_answer() -> None:
    """A connection is used again, and its next answer may have no such header."""
    answers = [plain({}, 429, more="Retry-After: 9\r\n"), plain({}, 429)]

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[len(fake.asked) - 1])

    async with faking(answer) as fake:
        engine = driver(fake.url)
        told = [failed_of(await collect(engine, chat())).error.get("retry_after") for _ in range(2)]
        assert told == [9.0, None]
        assert fake.connections == 1
        await engine.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [("http://127.0.0.1:1", "Nobody listens"), ("http://nowhere.invalid:80", "not known")],
)
async def test_a_server_that_is_not_there_is_told_with_its_place(url: str, words: str) -> None:
    engine = driver(url)
    error = failed_of(await collect(engine, chat())).error
    assert error["code"] == "engine_unreachable"
    assert words in error["message"]
    await engine.close()


async def test_an_https_address_of_a_server_without_a_certificate_is_explained() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    engine = driver(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    error = failed_of(await collect(engine, chat())).error
    assert "http://" in error["hint"]
    await engine.close()
    server.close()


@pytest.mark.parametrize(
    ("url", "answer", "code"),
    [
        ("http://127.0.0.1:1", None, "engine_unreachable"),
        ("", giving(plain({"error": "no"}, 401)), "endpoint_key_refused"),
        ("", giving(plain(b"<html>Bad Gateway</html>", 502)), "engine_unavailable"),
        ("", giving(plain(b"", 302)), "endpoint_moved"),
    ],
)
async def test_a_llama_server_of_others_is_told_of_in_the_same_words(url: str, answer: Any, code: str) -> None:
    async with faking(answer or GOOD) as fake:
        endpoint = Endpoint(url or fake.url, "secret-key", "llama-server", hosted=False, timeout=5.0)
        engine = LlamaServerEngine(endpoint, EngineInfo("m", "x", 1000, endpoint=endpoint), SPEC)
        error = failed_of(await collect(engine, ask("Hi"))).error
        assert error["code"] == code
        assert error["hint"]
        assert "secret-key" not in json.dumps(dict(error))
        await engine.close()


async def test_a_llama_server_of_others_that_falls_silent_is_hung_up_on() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with faking(answer) as fake:
        endpoint = Endpoint(fake.url, "", "llama-server", hosted=False, timeout=0.3)
        engine = LlamaServerEngine(endpoint, EngineInfo("m", "x", 1000, endpoint=endpoint), SPEC)
        assert failed_of(await collect(engine, ask("Hi"))).error["code"] == "engine_timeout"
        await engine.close()

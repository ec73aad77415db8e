"""Hang-ups, keys, options and loads, each with a server of its own, as the OpenAI client sees them."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import openai
import pytest

from tests.conftest import Start
from tests.extensions.asking import busy, client_of, quickest, user, wait_until


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_the_engine_at_once(server: Start, stream: bool) -> None:
    live = server()
    live.load_echo(tokens=100_000, speed=50.0, context=200_000)
    body = json.dumps({"model": "echo", "messages": user("x"), "stream": stream, "n": 2}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    port = int(live.base_url.rpartition(":")[2])

    def hang_up() -> float:
        with socket.create_connection(("localhost", port), 30) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            if stream:
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            wait_until(lambda: busy(live) == 2)
            began = time.monotonic()
        wait_until(lambda: busy(live) == 0)
        return time.monotonic() - began

    assert quickest(hang_up, 1) < 1


def test_the_clients_own_cancel_frees_the_engine(server: Start) -> None:
    live = server()
    live.load_echo(tokens=100_000, speed=50.0, context=200_000)
    with client_of(live) as client:

        def cancel() -> float:
            stream = client.chat.completions.create(model="echo", messages=user("x"), stream=True)
            for _, _event in zip(range(3), stream, strict=False):
                pass
            began = time.monotonic()
            stream.close()
            wait_until(lambda: busy(live) == 0)
            return time.monotonic() - began

        assert quickest(cancel, 1) < 1
        assert client.chat.completions.create(model="echo", messages=user("x"), max_tokens=2).choices[0].message.content


def test_an_engine_that_dies_halfway_is_an_error_event_and_the_next_reply_works(server: Start) -> None:
    live = server()
    live.load_echo(crash_at=5, tokens=50)
    with client_of(live) as client:
        texts: list[str] = []
        stream = client.chat.completions.create(model="echo", messages=user("x"), stream=True)
        with pytest.raises(openai.APIError) as caught:
            texts.extend(event.choices[0].delta.content or "" for event in stream)
        assert caught.value.code == "engine_crashed"
        live.load_echo(error_at=0, tokens=50)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="echo", messages=user("x"))
        live.load_echo()
        assert client.chat.completions.create(model="echo", messages=user("x")).choices[0].message.content == "x"


def test_a_key_is_asked_for_and_a_wrong_one_is_an_authentication_error(server: Start) -> None:
    live = server("--api-key", "s3cret-key-of-the-test", key="s3cret-key-of-the-test")
    live.load_echo()
    with pytest.raises(openai.AuthenticationError):
        client_of(live).models.list()
    right = openai.OpenAI(base_url=live.base_url + "/v1", api_key="s3cret-key-of-the-test", max_retries=0)
    with right:
        assert right.chat.completions.create(model="echo", messages=user("x")).choices[0].message.content == "x"


def test_the_options_file_can_map_names_programs_insist_on(server: Start, tmp_path: Path) -> None:
    folder = tmp_path / "user_data" / "extensions"
    folder.mkdir(parents=True)
    (folder / "openai.yaml").write_text('model_aliases: {gpt-3.5-turbo: "", gpt-4: echo}\n', encoding="utf-8")
    live = server()
    live.load_echo()
    with client_of(live) as client:
        for name in ("gpt-3.5-turbo", "gpt-4"):
            assert client.chat.completions.create(model=name, messages=user("x")).model == "echo"


def test_nothing_to_answer_with_is_a_503(server: Start) -> None:
    live = server()
    with client_of(live) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="", messages=user("x"))
    assert caught.value.status_code == 503


def test_a_slow_load_keeps_the_line_alive_and_then_answers(server: Start) -> None:
    live = server()
    live.call("POST", "/api/models/load", {"name": "echo", "settings": {"load_time": 10.0}})
    body = {"model": "echo", "messages": user("hello"), "stream": True}
    with live.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert any(line.startswith(": loading") for line in lines)
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    said = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert said == "hello"  # in as many pieces as it likes

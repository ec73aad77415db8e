"""The OpenAI client pointed at a server of ours, for the tests of the OpenAI API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import openai

from tests.conftest import ROOT, LiveServer

STARTER = ROOT / "user_data" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOL = STARTER.stem


def client_of(server: LiveServer, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url + "/v1", api_key="none", max_retries=0, timeout=200, **more)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def wait_until(true: Any, seconds: float = 30.0) -> None:
    """Wait for it. Fails the test when it does not come true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not come true in time"
        time.sleep(0.01)


def busy(server: LiveServer) -> int:
    return int(server.call("GET", "/api/state")["model"]["running"])


def quickest(hang_up: Callable[[], float], aim: float) -> float:
    """The shortest of up to three tries: other programs can make it slower, never quicker.

    `hang_up` gives the seconds from before it hung up until the engine was free.
    """
    took = [hang_up()]
    while took[-1] >= aim and len(took) < 3:
        took.append(hang_up())
    return min(took)

"""A real router in front of two servers: LiteLLM's proxy, as docs/remote.md describes it. Opt-in."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import Start

ENVIRONMENT = os.environ.get("ENGINEHOUSE_LITELLM", "")
KEY = f"sk-{secrets.token_hex(24)}"
pytestmark = pytest.mark.skipif(
    not ENVIRONMENT, reason="set ENGINEHOUSE_LITELLM to an environment with litellm[proxy] in it"
)


@pytest.fixture
def proxy(server: Start, tmp_path: Path) -> Iterator[str]:
    """LiteLLM's proxy in front of a server of ours with the echo model and of one that is down; its address."""
    behind = server()
    behind.load_echo(script="through the router")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    addresses = ["http://127.0.0.1:1/v1", f"{behind.base_url}/v1"]
    parameters = [{"model": "openai/echo", "api_base": one, "api_key": "none"} for one in addresses]
    config = {
        "model_list": [{"model_name": "echo", "litellm_params": one} for one in parameters],
        "router_settings": {"num_retries": 3, "cooldown_time": 30, "allowed_fails": 0},
    }
    (tmp_path / "litellm.yaml").write_text(yaml.safe_dump(config))
    command = [f"{ENVIRONMENT}/bin/litellm", "--config", str(tmp_path / "litellm.yaml"), "--host", "127.0.0.1",
               "--port", str(port), "--telemetry", "False"]  # fmt: skip
    with open(tmp_path / "litellm.log", "wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY},
        )
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).raise_for_status()
                    break
                except httpx.HTTPError:
                    assert process.poll() is None, (tmp_path / "litellm.log").read_text()[-2000:]
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.timeout(240)
def test_a_chat_goes_through_a_router_past_a_server_that_is_down(server: Start, proxy: str, tmp_path: Path) -> None:
    models = tmp_path / "asking" / "models"
    models.mkdir(parents=True, exist_ok=True)
    (models / "routed.endpoint.yaml").write_text(f"url: {proxy}\nmodel: echo\nkey: {KEY}\nflavour: openai\n")
    live = server(user_data=tmp_path / "asking")
    for _ in range(3):
        body = {"model": "routed", "messages": [{"role": "user", "content": "hello"}]}
        answer = live.call("POST", "/v1/chat/completions", body)
        assert answer["choices"][0]["message"]["content"] == "through the router"

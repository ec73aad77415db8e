"""A loader in an extension's folder works like a built-in, also one whose engine is a server of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Start

STAND_IN = ROOT / "tests" / "drivers" / "served_stand_in.py"
SCRIPT = """
from loaders.base import Feature, LoaderSpec, LoadParam
from modules.extension_api import hookimpl


@hookimpl
def loaders():
    return [LoaderSpec(
        name="tale", title="Tells a tale", formats=("tale",),
        params=(LoadParam("context", "int", 2048, "Context", "Tokens.", 16, 10000, 1),),
        samplers={"max_tokens": "max_tokens", "seed": "seed"}, features=frozenset({Feature.PARALLEL}),
        load=".engine:load", builtin_models=("tale",),
    )]
"""
ENGINE = '''
"""Starts a server and waits for it, with the parts the built-in loaders use."""

from loaders.served.serve import Served, LaunchPlan, serve

from .place import PROGRAM


def load(request, progress):
    served = Served("Tale", "vllm", PROGRAM, "it cannot be installed")

    def plan(address):
        arguments = ("serve", "--host", address.host, "--port", str(address.port))
        return LaunchPlan(arguments, 2, {"VLLM_API_KEY": address.key})

    return serve(request, progress, served, plan)
'''


@pytest.mark.skipif(sys.platform == "win32", reason="the program in its place is a script with a first line")
@pytest.mark.timeout(120)
def test_a_served_engine_of_an_extension_answers_in_a_chat_and_over_the_api(server: Start, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "extensions" / "tales"
    folder.mkdir(parents=True)
    program = tmp_path / "tale-server"
    program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "engine.py").write_text(ENGINE)
    (folder / "place.py").write_text(f"PROGRAM = {str(program)!r}\n")
    live = server("--extensions", "openai,tales", user_data=tmp_path / "data")
    body: dict[str, Any] = {"model": "tale", "messages": [{"role": "user", "content": "Tell me"}]}
    answer = live.call("POST", "/v1/chat/completions", body)
    assert answer["choices"][0]["message"]["content"].startswith("Once upon a time")
    assert answer["usage"]["prompt_tokens"] == 7
    status = live.call("GET", "/api/state")
    assert "tale" in str(status)
    chat, turn = live.chat("Tell me")
    assert "naïve" in str(live.events(chat["id"], turn["reply"]["id"]))


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A server with a key, its address."""
    command = [sys.executable, str(STAND_IN), "serve", "--port", "0", "--served-model-name", "there"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "VLLM_API_KEY": "far-away-key"}, text=True
    ) as running:
        assert running.stdout is not None
        yield f"http://127.0.0.1:{int(running.stdout.readline().split()[1])}"
        running.kill()


@pytest.mark.timeout(120)
def test_an_endpoint_file_is_a_model_and_its_key_is_shown_nowhere(
    server: Start, tmp_path: Path, elsewhere: str
) -> None:
    models = tmp_path / "data" / "models"
    models.mkdir(parents=True)
    (models / "far.endpoint.yaml").write_text(f"url: {elsewhere}\nkey: far-away-key\n")
    (models / "bad.endpoint.yaml").write_text("url: nonsense\nkey: far-away-key\n")
    live = server("--extensions", "openai", user_data=tmp_path / "data")
    listed = {one["name"]: one for one in live.call("GET", "/api/models")["models"]}
    assert listed["far"]["loaders"] == ["openai-endpoint"]
    assert listed["far"]["runnable"]
    assert "http" in listed["bad"]["reason"]
    chat, turn = live.chat("Tell me")
    events = live.events(chat["id"], turn["reply"]["id"])
    assert "naïve" in str(events)
    body = {"model": "far", "messages": [{"role": "user", "content": "Tell me"}], "max_tokens": 3}
    assert live.call("POST", "/v1/chat/completions", body)["choices"][0]["finish_reason"] == "length"
    shown = [str(events), *(live.http.get(path).text for path in ("/api/models", "/api/state", "/api/logs"))]
    assert "leaves_machine" not in shown[0], "it is on this machine"
    logs = [path.read_text(errors="replace") for path in (tmp_path / "data" / "logs").rglob("*") if path.is_file()]
    assert "far-away-key" not in "".join([*shown, *logs, live.out.read_text()])

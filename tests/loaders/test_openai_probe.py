"""Loading an endpoint: what the servers of a file turn out to be, and what is said when they cannot be used."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loaders.base import LoadRequest
from loaders.openai_endpoint import SPEC, load
from loaders.served.probe import Address, address_of
from modules.errors import LoadFailed
from modules.types import EngineInfo

Routes = dict[str, Any]


@contextmanager
def serving(routes: Routes, key: str = "") -> Iterator[str]:
    """A server that answers these paths: a value as JSON, a number as a status, bytes as they are.

    A pair is a status and its body. What is posted to is named with "POST " before it.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def do_GET(self) -> None:
            value = routes.get(f"POST {self.path}" if self.command == "POST" else self.path, 404)
            if key and self.headers.get("Authorization") != f"Bearer {key}":
                value = 401
            status = value if isinstance(value, int) else 200
            if isinstance(value, tuple):
                status, value = value
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/v1/models")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def cards(*ids: str, owner: str = "", **more: Any) -> Routes:
    return {"/v1/models": {"data": [{"id": one, "owned_by": owner, **more} for one in ids]}}


def loaded(folder: Path, settings: dict[str, Any] | None = None, **values: Any) -> EngineInfo:
    path = folder / "x.endpoint.yaml"
    path.write_text(json.dumps(values))
    request = LoadRequest("x", str(path), SPEC.name, SPEC.check_settings(settings or {}), str(folder))
    return load(request, lambda fraction, stage: None).info


def refused(folder: Path, **values: Any) -> LoadFailed:
    with pytest.raises(LoadFailed) as caught:
        loaded(folder, **values)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("owner", "flavour"),
    [("vllm", "vllm"), ("sglang", "sglang"), ("tensorrt_llm", "tensorrt-llm"), ("openai", "openai"), ("", "openai")],
)
def test_the_kind_is_what_the_server_says(tmp_path: Path, owner: str, flavour: str) -> None:
    with serving(cards("big", owner=owner, max_model_len=4096)) as url:
        info = loaded(tmp_path, url=url)
    assert info.endpoint is not None
    assert (info.endpoint.flavour, info.endpoint.model, info.context) == (flavour, "big", 4096)
    assert (info.renders_templates, info.endpoint.hosted, info.sends_to) == (False, False, "")
    assert info.details["kind_why"]
    assert "images" not in (info.features or ())


def test_llama_cpp_tells_the_rest_of_itself(tmp_path: Path) -> None:
    props = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 3, "chat_template": "x",
             "modalities": {"vision": True}, "build_info": "b11549"}  # fmt: skip
    with serving({**cards("/models/x.gguf", owner="llamacpp"), "/props": props}) as url:
        info = loaded(tmp_path, url=url, model="whatever")
    assert (info.context, info.slots, info.renders_templates, info.chat_template) == (2048, 3, True, True)
    assert "images" in (info.features or ())


def test_images_are_offered_where_the_file_says_so(tmp_path: Path) -> None:
    with serving(cards("big", owner="vllm")) as url:
        assert "images" in (loaded(tmp_path, url=url, images=True).features or ())


def test_an_old_vllm_is_not_offered_grammars_it_would_not_notice(tmp_path: Path) -> None:
    for version, offered in (("0.11.2", False), ("0.12.0", True), ("0.32.0+cpu", True)):
        with serving({**cards("big", owner="vllm"), "/version": {"version": version}}) as url:
            info = loaded(tmp_path, url=url)
        assert ("grammar" in (info.features or ())) is offered, version
        assert info.details["version"] == version


def test_the_servers_own_adapters_can_be_used(tmp_path: Path) -> None:
    listed = {"/v1/models": {"data": [{"id": "base", "owned_by": "vllm"},
                                      {"id": "red", "owned_by": "vllm", "parent": "base"}]}}  # fmt: skip
    with serving(listed) as url:
        info = loaded(tmp_path, url=url)
    assert info.endpoint is not None
    assert (info.endpoint.model, dict(info.adapters)) == ("base", {"red": 0.0})
    assert "lora adapters" in (info.features or ())


def test_the_context_is_the_smaller_one_and_said_why(tmp_path: Path) -> None:
    with serving(cards("big", max_model_len=4096)) as url:
        assert loaded(tmp_path, url=url, context=1000).context == 1000
        info = loaded(tmp_path, url=url, context=9999)
        assert info.context == 4096
        assert "4,096" in info.details["context_why"]
        assert loaded(tmp_path, {"context": 500, "parallel": 3}, url=url, context=1000, parallel=9).slots == 3
    with serving(cards("big")) as url:
        info = loaded(tmp_path, url=url)
        assert info.context == 0
        assert "does not tell" in info.details["context_why"]


def test_the_key_is_sent_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "s3cret")
    with serving(cards("big"), key="s3cret") as url:
        info = loaded(tmp_path, url=url, key_env="FAR_KEY")
        assert info.endpoint is not None
        assert info.endpoint.key == "s3cret"
        assert "s3cret" not in repr(info)
        error = refused(tmp_path, url=url, key="wrong")
    assert "does not take the key" in error.message
    assert refused(tmp_path, url=url, key_env="NOT_SET_KEY").code == "endpoint_key_missing"


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ({"/v1/models": 302}, "sends on"), ({"/v1/models": 500}, "HTTP 500"), ({"/v1/models": b"<html>"}, "not JSON"),
        ({"/v1/models": {"models": []}}, "no list of models"), ({}, "HTTP 404"), (cards(), "names no model"),
        (cards("a", "b"), "2 models"), ({"/v1/models": {"data": [{"id": 5}]}}, "names no model"),
    ],
    ids=["redirect", "fault", "page", "other list", "no list", "empty list", "several", "nonsense"],
)  # fmt: skip
def test_a_server_that_cannot_be_used_is_told_with_why(tmp_path: Path, routes: Routes, words: str) -> None:
    with serving(routes) as url:
        assert words in refused(tmp_path, url=url).message


def test_a_model_the_server_does_not_have_is_told_with_those_it_has(tmp_path: Path) -> None:
    with serving(cards("llama-big", "llama-small")) as url:
        error = refused(tmp_path, url=url, model="llama-bgi")
    assert "Did you mean llama-big?" in error.hint
    assert "llama-small" in error.hint


def test_a_server_without_a_list_is_used_when_the_file_says_enough(tmp_path: Path) -> None:
    with serving({}) as url:
        info = loaded(tmp_path, url=url, model="big", flavour="openai")
        assert info.endpoint is not None
        assert info.endpoint.model == "big"
        refused(tmp_path, url=url, model="big")


def test_nobody_there_is_told(tmp_path: Path) -> None:
    assert "127.0.0.1:1: nobody listens there" in refused(tmp_path, url="http://127.0.0.1:1").message
    assert "its name is not known" in refused(tmp_path, url="http://nowhere.invalid").message


def test_several_servers_in_one_file_are_refused_with_the_way_to_have_them(tmp_path: Path) -> None:
    error = refused(tmp_path, urls=["http://127.0.0.1:1", "http://127.0.0.1:2"])
    assert error.code == "endpoint_many_servers"
    assert "LiteLLM" in error.hint


def test_a_mistake_in_the_file_is_told_as_it_is(tmp_path: Path) -> None:
    assert refused(tmp_path, url="nonsense").code == "bad_endpoint_file"


def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(cards("big")) as url:
        loaded(tmp_path, url=url)


def test_text_that_leaves_the_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(cards("big")) as url:
        port = url.rsplit(":", 1)[1]
        monkeypatch.setattr("modules.formats.endpoint.is_this_machine", lambda host: False)
        info = loaded(tmp_path, url=f"http://localhost:{port}")
    assert info.sends_to == "localhost"
    assert "leaves this machine" in info.details["privacy"]
    assert "unencrypted" in info.details["warning"]


@pytest.mark.parametrize(
    ("url", "flavour", "wanted"),
    [
        ("http://x:1", "auto", Address("http://x:1", "/v1")),
        ("http://x:1/v1/", "auto", Address("http://x:1", "/v1")),
        ("https://x/api/v1", "auto", Address("https://x/api", "/v1")),
        ("https://x/v1beta/openai", "auto", Address("https://x/v1beta/openai", "")),
        ("https://x/llm", "llama-server", Address("https://x/llm", "/v1")),
    ],
)
def test_addresses_are_understood_as_people_write_them(url: str, flavour: str, wanted: Address) -> None:
    assert address_of(url, flavour) == wanted

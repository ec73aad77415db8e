"""Whatever JSON comes in: an answer or a refusal in OpenAI's shape, never a fault of the server."""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.openai.fields import read_common
from extensions.openai.messages import read_messages
from extensions.openai.schemas import CHAT_SCHEMA, COMPLETION_SCHEMA
from extensions.openai.script import routes
from extensions.openai.tools import read_tools
from modules.dialects.body import Body
from modules.dialects.encoding import encoded
from modules.errors import BadParameter, EnginehouseError, NotFound
from modules.extension_api import PARAMS, ExtensionContext, ModelAccess, check_values
from modules.generation.pipeline import Generation
from modules.types import Done, Stats, Text
from tests.engine_stand_in import Lender, StandIn


@dataclass
class Status:
    model: str = "stand-in"


class Catalog:
    """One model, "stand-in"."""

    status = Status()

    def scan(self) -> tuple[Any, ...]:
        return ()

    def get(self, name: str) -> Any:
        raise NotFound("There is no such model.", code="model_not_found")


class Presets:
    """One preset, "warm", which names a key this version does not know."""

    def load(self, name: str) -> dict[str, Any]:
        if name != "warm":
            raise NotFound("There is no such preset.")
        return {"temperature": 1.5, "from_the_future": 1}


def context(engine: StandIn | None = None, options: dict[str, Any] | None = None) -> ExtensionContext:
    import logging

    engine = engine or StandIn([Text("a "), Text("b"), Done("stop", Stats(3, 0, 2))])
    return ExtensionContext(
        "openai", Path(), options or {}, Generation(Lender(engine)), ModelAccess(Catalog(), Catalog()),  # type: ignore[arg-type]
        Presets(), {}, logging.getLogger("test"),  # type: ignore[arg-type]
    )  # fmt: skip


@functools.cache
def usual_app() -> FastAPI:
    return app_of(None)


def app_of(engine: StandIn | None) -> FastAPI:
    app = FastAPI()
    app.include_router(routes(context(engine)))
    return app


def post(path: str, body: Any, engine: StandIn | None = None) -> httpx.Response:
    app = usual_app() if engine is None else app_of(engine)

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            content = body if isinstance(body, bytes) else orjson.dumps(body)
            return await http.post(path, content=content, headers={"content-type": "application/json"})

    return asyncio.run(send())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({*CHAT_SCHEMA["properties"], *COMPLETION_SCHEMA["properties"], *(p.name for p in PARAMS), "tools", "x"})
BODIES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer"]) | JSON},
        optional={"content": st.text(max_size=9) | JSON, "name": JSON},
    ),
    max_size=4,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES, messages=MESSAGES | JSON, stream=st.booleans())
def test_any_chat_request_is_answered_or_refused(body: dict[str, Any], messages: Any, stream: bool) -> None:
    check(post("/v1/chat/completions", {**body, "messages": messages, **({"stream": True} if stream else {})}))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES, prompt=st.text(max_size=9) | JSON)
def test_any_completion_request_is_answered_or_refused(body: dict[str, Any], prompt: Any) -> None:
    check(post("/v1/completions", {**body, "prompt": prompt}))


def check(answer: httpx.Response) -> None:
    if answer.status_code == 200:
        if answer.headers["content-type"].startswith("text/event-stream"):
            assert answer.text.endswith("data: [DONE]\n\n")
            for line in answer.text.splitlines():
                assert not line or line.startswith((":", "data: [DONE]")) or orjson.loads(line[6:])["object"]
        else:
            assert answer.json()["choices"]
        return
    assert answer.status_code in (400, 404, 422), answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def common(**values: Any) -> Any:
    return asyncio.run(read_common(Body(values), context(options={"model_aliases": {"gpt-4": "real", "any": ""}})))


def test_a_presets_values_stand_below_the_requests_own() -> None:
    assert common(preset="warm").params == {"temperature": 1.5}
    assert common(preset="warm", temperature=0.2).params == {"temperature": 0.2}


def test_lengths_follow_openais_meaning_not_ours() -> None:
    assert common(max_tokens=-1).params == {"max_tokens": 0}
    assert common(n_predict=5).params == {"max_tokens": 5}
    with pytest.raises(EnginehouseError):
        common(max_tokens=0)


def test_thousands_of_unknown_fields_cost_no_time() -> None:
    body = {f"field {n} of a client gone wrong": n for n in range(20_000)}
    message = {"role": "user", "content": "x", **{f"odd {n}": 1 for n in range(1000)}}
    began = time.process_time()
    answer = post("/v1/chat/completions", {**body, "messages": [message]}).json()
    assert time.process_time() - began < 2
    assert len(answer["enginehouse"]["notices"]) < 50


def test_a_seed_beyond_32_bits_is_folded_and_said() -> None:
    found = common(seed=3 * (2**32 - 1) + 7)
    assert found.params == {"seed": 7}
    assert [notice.code for notice in found.notices] == ["seed_folded"]


def test_the_seed_that_engines_take_for_random_is_folded_too() -> None:
    found = common(seed=2**32 - 1)
    assert found.params == {"seed": 0}
    assert [notice.code for notice in found.notices] == ["seed_folded"]
    with pytest.raises(BadParameter):
        check_values({"seed": 2**32 - 1})


@pytest.mark.parametrize("token", [2**31, 2**31 + 5, 2**40, -1])
@pytest.mark.parametrize("several", [False, True])
def test_a_token_id_that_no_engine_can_hold_is_refused(token: int, several: bool) -> None:
    engine = StandIn()
    answer = post("/v1/completions", {"prompt": [[1, token]] if several else [1, token]}, engine)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt.0"
    assert engine.requests == []


def test_a_schema_that_cannot_be_enforced_is_a_400_streamed_or_not() -> None:
    schema = {"type": "array", "uniqueItems": True}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    for stream in (False, True):
        body = {"messages": [{"role": "user", "content": "x"}], "response_format": wanted, "stream": stream}
        answer = post("/v1/chat/completions", body)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["param"], error["code"]) == ("response_format", "schema_unsupported")
        assert "uniqueItems" in error["message"]


def test_a_schema_the_engine_did_not_keep_is_said_streamed_or_not() -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}}
    whole = post("/v1/chat/completions", body).json()
    assert [notice["code"] for notice in whole["enginehouse"]["notices"]] == ["schema_not_enforced"]
    assert "schema_not_enforced" in post("/v1/chat/completions", {**body, "stream": True}).text


def test_names_in_the_options_file_stand_for_models() -> None:
    names = ("gpt-4", "any", "", "default", "x")
    assert [common(model=name).model for name in names] == ["real", None, None, None, "x"]


def test_each_choice_has_a_seed_of_its_own() -> None:
    engine = StandIn()
    post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "n": 3, "seed": 2**32 - 3}, engine)
    assert sorted(int(str(r.params["seed"])) for r in engine.requests) == [0, 2**32 - 3, 2**32 - 2]


def test_thinking_has_its_own_field_whole_and_streamed() -> None:
    def engine() -> StandIn:
        return StandIn([Text("<think>hm</think>"), Text("yes"), Done("stop", Stats(3, 0, 2))])

    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
    whole = post("/v1/chat/completions", body, engine()).json()
    assert whole["choices"][0]["message"] == {
        "role": "assistant", "content": "yes", "refusal": None, "reasoning_content": "hm",
    }  # fmt: skip
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1
    text = post("/v1/chat/completions", {**body, "stream": True}, engine()).text
    deltas = [orjson.loads(line[6:])["choices"][0]["delta"] for line in text.splitlines() if line.startswith("data: {")]
    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None}, {"reasoning_content": "hm"}, {"content": "yes"}, {},
    ]  # fmt: skip


def test_a_reply_with_half_a_surrogate_pair_can_still_be_sent() -> None:
    assert encoded("a\ud83d") == b'"a?"'
    engine = StandIn([Text("a\ud83d"), Done("stop")])
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert post("/v1/chat/completions", body, engine).json()["choices"][0]["message"]["content"] == "a?"


def test_a_body_that_is_not_called_json_is_refused() -> None:
    app = FastAPI()
    app.include_router(routes(context()))

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            return await http.post("/v1/completions", content=b'{"prompt":"x"}', headers={"content-type": "text/plain"})

    answer = asyncio.run(send())
    assert answer.status_code == 415
    assert "-H 'Content-Type: application/json'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 1500}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 600}] * 20}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}] * 10_001}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}], "temperature": [[]] * 100_000}, "temperature"),
        ({"messages": [{"role": "user", "content": "a"}], "lora": [{}] * 100_000}, "lora"),
        ({"messages": [{"role": "user", "content": "a"}], "stop": [""] * 100_000}, "stop"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_long_lists_are_refused_before_they_are_read(body: dict[str, Any], param: str) -> None:
    answer = post("/v1/chat/completions", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert len(answer.text) < 1000


def test_unknown_fields_of_a_part_are_named() -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
             {"type": "text", "text": "b", "style": None}]  # fmt: skip
    body = {"messages": [{"role": "user", "content": parts}], "stream_options": {"include_usage": None, "odd": 1}}
    notices = post("/v1/chat/completions", body).json()["enginehouse"]["notices"]
    assert [notice["param"] for notice in notices] == ["messages.0.content.0.cache_control", "stream_options.odd"]
    with_image = [{"type": "image_url", "image_url": {"url": url, "sharpness": 2}}]
    _, found = read_messages([{"role": "user", "content": with_image}])
    assert [notice.param for notice in found] == ["messages.0.content.0.image_url.sharpness"]


def test_unknown_fields_of_a_tool_are_named() -> None:
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "returns": "x"}
    body = Body({"tools": [{"type": "function", "function": function, "timeout": 5}], "tool_choice": "auto"})
    assert read_tools(body)["tools"][0]["function"] == function
    assert [notice.param for notice in body.unknown()] == ["tools.0.timeout", "tools.0.function.returns"]


def test_what_many_clients_always_send_is_read_as_meant() -> None:
    engine = StandIn()
    body = {"messages": [{"role": "user", "content": "x"}], "top_k": -1, "stop": ["", "a"], "temperature": "0.7",
            "stream_options": {"include_usage": None}, "max_tokens": "-1", "seed": None, "n": "1",
            "stream": 0}  # fmt: skip
    assert post("/v1/chat/completions", body, engine).status_code == 200
    (request,) = engine.requests
    assert {name: request.params[name] for name in ("top_k", "temperature")} == {"top_k": 0, "temperature": 0.7}
    assert request.stop == ("a",)

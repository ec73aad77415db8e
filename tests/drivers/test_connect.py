"""Which driver speaks to which worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders import openai_endpoint
from loaders.base import features_of
from loaders.echo import SPEC
from modules.drivers.connect import connect
from modules.drivers.llama_server import LlamaServerEngine
from modules.drivers.openai_server import OpenAIServerEngine
from modules.drivers.pipe import PipeEngine
from modules.errors import LoadFailed, Unsupported
from modules.generation.checks import checked_against
from modules.types import Endpoint, EngineInfo, GenerationRequest, Message, Notice
from tests.drivers.openai_making import GOOD, faking
from tests.engine.making import collect, text_of, worker

pytestmark = pytest.mark.anyio


async def test_the_endpoint_decides_on_the_driver(tmp_path: Path) -> None:
    process = worker(tmp_path)
    assert isinstance(connect(process, EngineInfo("m", "echo", 10), SPEC), PipeEngine)
    there = EngineInfo("m", "x", 10, endpoint=Endpoint("http://127.0.0.1:1", "k", "llama-server"))
    assert isinstance(connect(process, there, SPEC), LlamaServerEngine)
    strange = EngineInfo("m", "x", 10, endpoint=Endpoint("http://127.0.0.1:1", "k", "telegraph"))
    with pytest.raises(LoadFailed, match="telegraph"):
        connect(process, strange, SPEC)


@pytest.mark.parametrize("flavour", ["openai", "vllm", "sglang", "tensorrt-llm"])
async def test_a_server_of_others_offers_only_what_its_kind_has(tmp_path: Path, flavour: str) -> None:
    there = Endpoint("http://127.0.0.1:1", "k", flavour, hosted=False)
    info = EngineInfo("m", "x", 10, endpoint=there, features=("logprobs", "parallel"))
    engine = connect(worker(tmp_path), info, openai_endpoint.SPEC)
    assert isinstance(engine, OpenAIServerEngine)
    assert ("min_p" in engine.spec.samplers) is (flavour != "openai")
    assert "dry_multiplier" in openai_endpoint.SPEC.samplers
    assert "dry_multiplier" not in engine.spec.samplers
    assert {str(feature) for feature in features_of(engine.spec, info)} == {"logprobs", "parallel"}
    with pytest.raises(Unsupported, match="as it is loaded now") as caught:
        checked_against(GenerationRequest("t", prompt="x", grammar='root ::= "a"'), engine)
    assert caught.value.param == "grammar", "another server of the same loader may have it"
    await engine.close()


async def test_the_first_reply_says_that_text_leaves_the_machine(tmp_path: Path) -> None:
    async with faking(GOOD) as fake:
        there = Endpoint(fake.url, "", "openai", hosted=False)
        info = EngineInfo("m", "x", 10, endpoint=there, sends_to="far.example")
        engine = connect(worker(tmp_path), info, openai_endpoint.SPEC)
        request = GenerationRequest("t", messages=(Message("user", "Hi"),))
        first, second = [await collect(engine, request) for _ in range(2)]
        (notice,) = [one for one in first if isinstance(one, Notice)]
        assert notice.code == "leaves_machine"
        assert "far.example" in notice.message
        assert text_of(first) == text_of(second) == "Hello"
        assert not [one for one in second if isinstance(one, Notice)]
        await engine.close()

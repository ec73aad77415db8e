"""Which driver speaks to which worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.echo import SPEC
from modules.engine.connect import connect
from modules.engine.llama_server import LlamaServerEngine
from modules.engine.pipe_engine import PipeEngine
from modules.errors import LoadFailed
from modules.types import Endpoint, EngineInfo
from tests.engine.making import worker

pytestmark = pytest.mark.anyio


async def test_the_endpoint_decides_on_the_driver(tmp_path: Path) -> None:
    process = worker(tmp_path)
    assert isinstance(connect(process, EngineInfo("m", "echo", 10), SPEC), PipeEngine)
    there = EngineInfo("m", "x", 10, endpoint=Endpoint("http://127.0.0.1:1", "k", "llama-server"))
    assert isinstance(connect(process, there, SPEC), LlamaServerEngine)
    strange = EngineInfo("m", "x", 10, endpoint=Endpoint("http://127.0.0.1:1", "k", "telegraph"))
    with pytest.raises(LoadFailed, match="telegraph"):
        connect(process, strange, SPEC)

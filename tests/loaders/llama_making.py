"""The llama.cpp loader for tests, with files that go with the model and a program in place of the bundled engine."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from loaders.base import LoadRequest, NamedFile
from loaders.llama.launch import Launch, decide
from loaders.llama_cpp import SPEC
from modules.drivers.connect import connect
from modules.drivers.llama_server import LlamaServerEngine
from modules.engine.process import WorkerProcess
from modules.engine.watchdog import Limits
from modules.engine.worker_log import WorkerLog
from modules.formats.gguf import GgufHeader, read_header
from tests.engine.making import MODEL, ROOT
from tests.gguf_maker import write

Files = Mapping[str, tuple[NamedFile, ...]]


def request_for(
    folder: Path, path: Path = MODEL, files: Files | None = None, own: str = "", **settings: Any
) -> LoadRequest:
    """What the worker is told; one thread, because two that spin beside other tests stand still."""
    complete = SPEC.check_settings({"threads": 1, **settings})
    options = {"llama_server": own}
    return LoadRequest(path.stem, str(path), SPEC.name, complete, str(folder), dict(files or {}), options)


def worker_for(folder: Path, request: LoadRequest) -> WorkerProcess:
    return WorkerProcess(request, SPEC.load, WorkerLog(folder / "logs" / "engine.log"), Limits(), lambda: None)


@asynccontextmanager
async def loaded_with(
    folder: Path, path: Path = MODEL, files: Files | None = None, own: str = "", **settings: Any
) -> AsyncIterator[tuple[LlamaServerEngine, WorkerProcess]]:
    """A loaded engine and its worker, gone at the end."""
    process = worker_for(folder, request_for(folder, path, files, own, **settings))
    try:
        engine = connect(process, await process.start(), SPEC)
        assert isinstance(engine, LlamaServerEngine)
        yield engine, process
        await engine.close()
    finally:
        await process.stop()


def decided(
    folder: Path, header: Mapping[str, Any] | None = None, files: Files | None = None, **settings: Any
) -> Launch:
    """What would be started, for a file with these entries in its header."""
    path = write(folder / "model.gguf", **({} if header is None else {"metadata": header}))
    return decide(request_for(folder, path, files, **settings), read_header(path))


def header_of(folder: Path, metadata: Mapping[str, Any]) -> GgufHeader:
    return read_header(write(folder / "model.gguf", metadata=metadata))


def stand_in(folder: Path, lacks: str = "") -> str:
    """An executable that is a llama-server; `lacks` are flags it does not have."""
    path = folder / "my llama-server"
    script = ROOT / "tests" / "loaders" / "llama_stand_in.py"
    path.write_text(f"#!/bin/sh\nexport STAND_IN_LACKS='{lacks}'\nexec '{sys.executable}' '{script}' \"$@\"\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def raw(engine: LlamaServerEngine, path: str, body: Any = None) -> Any:
    """An answer of the engine itself."""
    endpoint = engine.info.endpoint
    assert endpoint is not None
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    async with httpx.AsyncClient(base_url=endpoint.url, timeout=60, headers=headers) as http:
        answer = await (http.get(path) if body is None else http.post(path, json=body))
    return answer.json()


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True

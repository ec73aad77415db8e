"""From a worker that is ready to the engine that speaks to it."""

from __future__ import annotations

from typing import Protocol

from loaders.base import LoaderSpec
from modules.engine.base import Engine
from modules.engine.llama_server import LlamaServerEngine
from modules.engine.pipe_engine import PipeEngine
from modules.engine.process import WorkerProcess
from modules.errors import LoadFailed
from modules.types import EngineInfo


class ConnectedEngine(Engine, Protocol):
    """An engine whose connections its owner closes."""

    async def close(self) -> None: ...


def connect(process: WorkerProcess, info: EngineInfo, spec: LoaderSpec) -> ConnectedEngine:
    """The engine for what the worker offers: its pipes, or an endpoint of a flavour there is a driver for."""
    if info.endpoint is None:
        return PipeEngine(process, info, spec)
    if info.endpoint.flavour == "llama-server":
        return LlamaServerEngine(info.endpoint, info, spec, process)
    raise LoadFailed(
        f"The loader {spec.name} has an endpoint of kind {info.endpoint.flavour!r}, and there is no driver for it.",
        hint="Update the program, or the extension that brings the loader.",
    )

"""From a worker that is ready to the engine that speaks to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from loaders.base import LoaderSpec
from loaders.served.server_kinds import FLAVOURS, samplers_of
from modules.drivers.base import Engine
from modules.drivers.llama_server import LlamaServerEngine
from modules.drivers.openai_server import OpenAIServerEngine
from modules.drivers.pipe import PipeEngine
from modules.drivers.remote_notice import RemoteNoticeEngine
from modules.engine.process import WorkerProcess
from modules.errors import LoadFailed
from modules.sampling.params import LLAMA
from modules.types import EngineInfo


class ConnectedEngine(Engine, Protocol):
    """An engine whose connections its owner closes."""

    async def close(self) -> None: ...


def connect(process: WorkerProcess, info: EngineInfo, spec: LoaderSpec) -> ConnectedEngine:
    """The engine for what the worker offers: its pipes, or an endpoint of a flavour there is a driver for.

    Servers of others differ in what they take: the engine's spec then names only the samplers its own kind has.
    """
    engine = _connected(process, info, spec)
    return RemoteNoticeEngine(engine) if info.sends_to else engine


def _connected(process: WorkerProcess, info: EngineInfo, spec: LoaderSpec) -> ConnectedEngine:
    endpoint = info.endpoint
    if endpoint is None:
        return PipeEngine(process, info, spec)
    if not endpoint.hosted:
        known = {name: wire for name, wire in samplers_of(endpoint.flavour).items() if name in spec.samplers}
        spec = replace(spec, samplers=known)
    if endpoint.flavour == LLAMA:
        return LlamaServerEngine(endpoint, info, spec, process)
    if endpoint.flavour in FLAVOURS:
        return OpenAIServerEngine(endpoint, info, spec, process)
    raise LoadFailed(
        f"The loader {spec.name} has an endpoint of kind {endpoint.flavour!r}, and there is no driver for it.",
        hint="Update the program, or the extension that brings the loader.",
    )

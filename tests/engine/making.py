"""Real workers for tests: the echo engine and the starter model, each in its own process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loaders import echo, llama_cpp
from loaders.base import LoaderSpec, LoadRequest
from loaders.text.media_mark import split_marks
from modules.drivers.connect import ConnectedEngine, connect
from modules.engine.process import WorkerProcess
from modules.engine.watchdog import Limits
from modules.engine.worker_log import WorkerLog
from modules.types import Chunk, Done, Failed, GenerationRequest, Text

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "user_data" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
CALM = Limits(tick=0.1)
"""The program's own limits, which a worker that waits for its turn on a busy machine does not reach."""
HASTY = Limits(stall=1.5, patience=1.0, tick=0.1)
"""For tests of what counts as a hang, and what does not."""


def worker(
    folder: Path, spec: LoaderSpec = echo.SPEC, path: str = "echo", limits: Limits = CALM,
    on_change: Callable[[], None] = lambda: None, **settings: Any,
) -> WorkerProcess:  # fmt: skip
    """A worker that has not been started."""
    request = LoadRequest(Path(path).stem, path, spec.name, spec.check_settings(settings), str(folder))
    return WorkerProcess(request, spec.load, WorkerLog(folder / "logs" / "engine.log"), limits, on_change)


@asynccontextmanager
async def running(
    folder: Path, spec: LoaderSpec = echo.SPEC, path: str = "echo", limits: Limits = CALM, **settings: Any
) -> AsyncIterator[tuple[ConnectedEngine, WorkerProcess]]:
    """A loaded engine and its worker, gone at the end."""
    process = worker(folder, spec, path, limits, **settings)
    try:
        engine = connect(process, await process.start(), spec)
        yield engine, process
        await engine.close()
    finally:
        await process.stop()


def real(folder: Path, **settings: Any) -> Any:
    """The starter model in the real engine; one thread, because two that spin beside other tests stand still."""
    return running(folder, llama_cpp.SPEC, str(MODEL), Limits(), **{"threads": 1, **settings})


def ask_with_images(prompt: str | tuple[int, ...], **more: Any) -> GenerationRequest:
    """A request whose images go where the marks stand in `prompt`; without images a mark is text."""
    if isinstance(prompt, tuple) or not more.get("images"):
        return ask(prompt, **more)
    found = split_marks(prompt)
    return ask(found.text, image_places=found.image_places, **more)


def ask(prompt: str | tuple[int, ...] = "hello", **more: Any) -> GenerationRequest:
    """A request; `params` by PARAMS name."""
    return GenerationRequest(id="test", prompt=prompt, **more)


async def collect(engine: ConnectedEngine, request: GenerationRequest) -> list[Chunk]:
    """Every chunk of a reply."""
    return [chunk async for chunk in engine.generate(request)]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


def done_of(chunks: list[Chunk]) -> Done:
    """The Done a reply has to end with; it and no other."""
    ends = [chunk for chunk in chunks if isinstance(chunk, (Done, Failed))]
    assert ends == chunks[-1:], ends
    assert isinstance(ends[0], Done), ends[0]
    return ends[0]


def failed_of(chunks: list[Chunk]) -> Failed:
    """The Failed a reply has to end with; it and no other."""
    ends = [chunk for chunk in chunks if isinstance(chunk, (Done, Failed))]
    assert ends == chunks[-1:], ends
    assert isinstance(ends[0], Failed), ends[0]
    return ends[0]


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition. Fails after `seconds`, which only ends a wait in vain."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, f"still not so after {seconds} seconds"
        await asyncio.sleep(0.005)

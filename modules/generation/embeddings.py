"""The other things models are asked for: vectors of texts, and how well documents fit a query.

The model is leased like one that writes: loaded when it is named and not there, queued when memory is short.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loaders.base import Feature, LoaderSpec, offers
from modules.drivers.base import Engine, no_task
from modules.errors import EngineError
from modules.generation.checks import lacking, text_of_ids
from modules.models.lease import Leases
from modules.models.model_file import ModelFile
from modules.tasks import EMBED, RERANK, A, EmbedRequest, Q, RerankRequest, Task
from modules.types import Notice

MOST_NAMED = 10
Input = str | tuple[int, ...]
Files = Callable[[], Awaitable[Iterable[ModelFile]]]


@dataclass(frozen=True, slots=True)
class Embedded:
    """One vector per input, of length 1; `tokens` of all of them; `model` is the one that made them."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    tokens: int
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """One score per document, in their order, larger fits better; `tokens` of all pairs."""

    model: str
    scores: tuple[float, ...]
    tokens: int
    notices: tuple[Notice, ...] = ()


async def embed(models: Leases, name: str | None, inputs: Sequence[Input], files: Files) -> Embedded:
    """Vectors of texts or token ids. `files` gives the catalogue, for the error that names models that can.

    Raises Unsupported, BadRequest, EngineError and what a lease raises.
    """
    async with models.lease(name) as lease:
        engine = lease.engine
        await _check(engine, EMBED, files)
        texts = [one if isinstance(one, str) else await text_of_ids(engine, one, "input") for one in inputs]
        found = await engine.call(EMBED, EmbedRequest(tuple(texts)))
        if len(found.vectors) != len(texts):
            raise EngineError(f"The engine gave {len(found.vectors)} vectors for {len(texts)} texts.")
        return Embedded(engine.info.model, found.vectors, found.tokens, lease.notices)


async def rerank(models: Leases, name: str | None, query: str, documents: Sequence[str], files: Files) -> Ranked:
    """Scores of documents for a query. Raises as `embed` does."""
    async with models.lease(name) as lease:
        engine = lease.engine
        await _check(engine, RERANK, files)
        found = await engine.call(RERANK, RerankRequest(query, tuple(documents)))
        if len(found.scores) != len(documents):
            raise EngineError(f"The engine gave {len(found.scores)} scores for {len(documents)} documents.")
        return Ranked(engine.info.model, found.scores, found.tokens, lease.notices)


async def run_task(models: Leases, name: str | None, task: Task[Q, A], request: Q, files: Files) -> A:
    """Any task of modules/tasks.py, or one that a loader of an extension brings. Raises as `embed` does."""
    async with models.lease(name) as lease:
        await _check(lease.engine, task, files)
        answer: A = await lease.engine.call(task, request)
        return answer


def _made_for(file: ModelFile, task: Task[Any, Any]) -> bool:
    """Whether a model of the catalogue was made for it, as far as its file says."""
    return file.kind == task.kind or task.feature in file.capabilities


async def _check(engine: Engine, task: Task[Any, Any], files: Files) -> None:
    """Raises Unsupported that names what could do it: models that are there, or a setting of this loader."""
    if offers(engine.spec, engine.info, task):
        return
    if task.feature not in {known.value for known in Feature}:  # a task of an extension
        raise no_task(engine.spec, task)
    feature = Feature(task.feature)
    ways = []
    there = [file.name for file in await files() if file.runnable and _made_for(file, task)]
    if others := [name for name in there if name != engine.info.model][:MOST_NAMED]:
        ways.append("name a model that was made for it: " + ", ".join(others))
    if feature in engine.spec.features and (setting := _setting_for(engine.spec, feature)):
        ways.append(f"load this one with the setting {setting}")
    hint = "; or ".join(ways) or "get a model that was made for it"
    error = lacking(engine.spec, engine.info, feature, "this route", hint[0].upper() + hint[1:] + ".")
    error.param = "model"
    raise error


def _setting_for(spec: LoaderSpec, feature: Feature) -> str:
    """The loader's setting that switches it on, as far as its name or its choices tell; "" without one."""
    for setting in spec.params:
        if feature.value in setting.choices:
            return f"{setting.name} = {feature.value}"
        if feature.value.removesuffix("s") in setting.name:
            return setting.name
    return ""

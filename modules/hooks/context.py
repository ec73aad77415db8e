"""What an extension is given: the models, the pipeline, the presets and its own options."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.generation import embeddings as vectors
from modules.generation.embeddings import Embedded, Ranked
from modules.generation.pipeline import Generation
from modules.models.catalog import Catalog
from modules.models.model_file import ModelFile
from modules.models.pool import ModelPool
from modules.models.status import ModelStatus
from modules.sampling.presets import Presets
from modules.settings.store import Settings
from modules.tasks import A, Q, Task
from modules.version import VERSION


class ModelAccess:
    """The models as an extension sees them: what there is, what is loaded, load another."""

    def __init__(self, models: ModelPool, catalog: Catalog) -> None:
        self._models = models
        self._catalog = catalog

    @property
    def status(self) -> ModelStatus:
        """The ModelStatus of this moment (state, model, loader, info, …)."""
        return self._models.status

    async def list(self) -> tuple[ModelFile, ...]:
        """Every ModelFile of the catalogue, those that cannot run (with their reason) too."""
        return await asyncio.to_thread(self._catalog.scan)

    async def get(self, name: str) -> ModelFile:
        """One ModelFile. Raises NotFound (code "model_not_found") with near names."""
        return await asyncio.to_thread(self._catalog.get, name)

    async def load(
        self, name: str, loader: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> ModelStatus:
        """Load a model now. A reply does that by itself: name the model in the request."""
        return await self._models.load(name, loader, settings)

    async def embed(self, name: str | None, inputs: Sequence[str | tuple[int, ...]]) -> Embedded:
        """One vector for each text (or list of the model's own token ids), made by that model; None = the loaded one.

        Loads it when it is not there. Raises Unsupported for a model or loader that makes none, naming what could.
        """
        return await vectors.embed(self._models, name, inputs, self.list)

    async def run_task(self, name: str | None, task: Task[Q, A], request: Q) -> A:
        """What a loader offers beside text, embeddings and ranking, by a task of its own; otherwise as `embed`."""
        return await vectors.run_task(self._models, name, task, request, self.list)

    async def rerank(self, name: str | None, query: str, documents: Sequence[str]) -> Ranked:
        """How well each document fits the query, larger is better; otherwise as `embed`."""
        return await vectors.rerank(self._models, name, query, documents, self.list)


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the program that `setup` and `routes` are given; built once, by the App."""

    generation: Generation
    models: ModelAccess
    presets: Presets
    settings: Settings


@dataclass(frozen=True, slots=True)
class ExtensionContext:
    """What one extension works with.

    name        the extension's own name
    folder      its own folder
    options     what a person wrote into user_data/extensions/<name>.yaml; {} when there is none
    generation  the pipeline: `stream(request)` and `run(request)`
    models      what there is and what is loaded
    presets     sampling values by name
    settings    the server's settings, to be read only
    log         a logger of its own
    """

    name: str
    folder: Path
    options: Mapping[str, Any]
    generation: Generation
    models: ModelAccess
    presets: Presets
    settings: Settings
    log: logging.Logger
    version: str = VERSION

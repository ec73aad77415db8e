"""Everything an extension imports from this program. What is not here is not promised to stay.

    from modules.extension_api import ExtensionContext, GenerationRequest, Text, hookimpl

An extension is a folder with a `script.py`; see docs/extensions.md. It runs inside the server with the
server's rights. The server's own checks (key, Host, Origin, body size) stand before every route it adds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loaders.base import Feature, LoaderSpec, LoadParam
from modules.errors import (
    BadParameter,
    BadRequest,
    Cancelled,
    Conflict,
    ContextOverflow,
    EngineCrashed,
    EngineError,
    EnginehouseError,
    Forbidden,
    LoadFailed,
    NotFound,
    NotReady,
    RateLimited,
    StorageError,
    TooLarge,
    Unauthorized,
    Unsupported,
    from_dict,
    seconds_to_wait,
)
from modules.generation import embeddings as vectors
from modules.generation.embeddings import Embedded, Ranked
from modules.generation.pipeline import Generation, Result
from modules.generation.stream_parser import token_spans
from modules.hooks.specs import hookimpl
from modules.messages.images import without_marks
from modules.sampling.params import BY_NAME, CANONICAL, PARAMS, Param, check_values
from modules.types import (
    MEDIA_MARK,
    Chunk,
    Done,
    Failed,
    GenerationRequest,
    Ledger,
    Message,
    Notice,
    Progress,
    Reasoning,
    Stats,
    Text,
    TokenLogprob,
    TopLogprob,
)
from modules.version import VERSION
from modules.web.sse import send_answer, send_events, unless_disconnected

__all__ = [
    "BY_NAME", "CANONICAL", "MEDIA_MARK", "PARAMS", "VERSION", "BadParameter", "BadRequest", "Cancelled", "Chunk",
    "Conflict", "ContextOverflow", "Done", "Embedded", "EngineCrashed", "EngineError", "EnginehouseError",
    "ExtensionContext", "Failed", "Feature", "Forbidden", "Generation", "GenerationRequest", "Ledger",
    "LoadFailed", "LoadParam", "LoaderSpec", "Message", "ModelAccess", "NotFound", "NotReady", "Notice", "Param",
    "Presets", "Progress", "Ranked", "RateLimited", "Reasoning", "Result", "Services", "Stats", "StorageError", "Text",
    "TokenLogprob", "TooLarge", "TopLogprob", "Unauthorized", "Unsupported", "check_values", "from_dict",
    "hookimpl", "seconds_to_wait", "send_answer", "send_events", "token_spans", "unless_disconnected", "without_marks",
]  # fmt: skip


class Catalog(Protocol):
    """What is on disk; see modules/models/catalog.py. Calls block and belong in a thread."""

    def scan(self) -> tuple[Any, ...]: ...
    def get(self, name: str) -> Any: ...


class Models(Protocol):
    """What is loaded; see modules/models/pool.py."""

    @property
    def status(self) -> Any: ...
    async def load(self, name: str, loader: str | None = None, settings: Mapping[str, Any] | None = None) -> Any: ...
    def lease(self, name: str | None) -> AbstractAsyncContextManager[Any]: ...


class Presets(Protocol):
    """Sets of sampling values by name; see modules/sampling/presets.py. Calls block and belong in a thread."""

    def names(self) -> Any: ...
    def load(self, name: str) -> dict[str, Any]: ...


class ModelAccess:
    """The models as an extension sees them: what there is, what is loaded, load another."""

    def __init__(self, models: Models, catalog: Catalog) -> None:
        self._models = models
        self._catalog = catalog

    @property
    def status(self) -> Any:
        """The ModelStatus of this moment (state, model, loader, info, …)."""
        return self._models.status

    async def list(self) -> tuple[Any, ...]:
        """Every ModelFile of the catalogue, those that cannot run (with their reason) too."""
        return await asyncio.to_thread(self._catalog.scan)

    async def get(self, name: str) -> Any:
        """One ModelFile. Raises NotFound (code "model_not_found") with near names."""
        return await asyncio.to_thread(self._catalog.get, name)

    async def load(self, name: str, loader: str | None = None, settings: Mapping[str, Any] | None = None) -> Any:
        """Load a model now. A reply does that by itself: name the model in the request."""
        return await self._models.load(name, loader, settings)

    async def embed(self, name: str | None, inputs: Sequence[str | tuple[int, ...]]) -> Embedded:
        """One vector for each text (or list of the model's own token ids), made by that model; None = the loaded one.

        Loads it when it is not there. Raises Unsupported for a model or loader that makes none, naming what could.
        """
        return await vectors.embed(self._models, name, inputs, self.list)

    async def rerank(self, name: str | None, query: str, documents: Sequence[str]) -> Ranked:
        """How well each document fits the query, larger is better; otherwise as `embed`."""
        return await vectors.rerank(self._models, name, query, documents, self.list)


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the program that `setup` and `routes` are given; built once, by the App."""

    generation: Generation
    models: ModelAccess
    presets: Presets
    settings: Any


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
    settings: Any
    log: logging.Logger
    version: str = VERSION

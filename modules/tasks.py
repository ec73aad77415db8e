"""TASKS: what an engine can be asked for beside writing text. One row per task; all else is derived.

A loader that offers one names its feature (or the task itself, in `LoaderSpec.tasks`) and gives its backend a function
for it. Drivers carry any task: a request goes to a worker as JSON and its answer comes back through the row's `read`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from modules.types import Embeddings, Ranking

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Task(Generic[Q, A]):
    """One kind of call to an engine.

    name     as it travels ("embed")
    feature  the feature a loader names for it, "" = the loader lists the task in `LoaderSpec.tasks`
    kind     the kind of model file that is made for it ("embedding"), "" = none in particular
    request  a dataclass of plain values, JSON-ready
    read     the answer from what a worker sent. Raises KeyError, TypeError or ValueError for what is none
    """

    name: str
    feature: str
    kind: str
    request: type[Q]
    read: Callable[[Any], A]


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts whose vectors are wanted."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """Documents to be ranked by how well they fit a query."""

    query: str
    documents: tuple[str, ...]


def _embeddings(found: Mapping[str, Any]) -> Embeddings:
    return Embeddings(tuple(tuple(vector) for vector in found["vectors"]), int(found["tokens"]))


def _ranking(found: Mapping[str, Any]) -> Ranking:
    return Ranking(tuple(float(score) for score in found["scores"]), int(found["tokens"]))


EMBED = Task("embed", "embeddings", "embedding", EmbedRequest, _embeddings)
RERANK = Task("rerank", "rerank", "reranker", RerankRequest, _ranking)

"""The tasks of an engine, asked for as tests write them."""

from __future__ import annotations

from collections.abc import Sequence

from modules.drivers.base import Engine
from modules.tasks import EMBED, RERANK, EmbedRequest, RerankRequest
from modules.types import Embeddings, Ranking


async def embed(engine: Engine, texts: Sequence[str]) -> Embeddings:
    """Vectors of texts."""
    return await engine.call(EMBED, EmbedRequest(tuple(texts)))


async def rerank(engine: Engine, query: str, documents: Sequence[str]) -> Ranking:
    """Scores of documents for a query."""
    return await engine.call(RERANK, RerankRequest(query, tuple(documents)))

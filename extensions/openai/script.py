"""The OpenAI API: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/rerank, /v1/models.

Built on the public extension API only.

Specification: https://platform.openai.com/docs/api-reference . What differs from it is listed in docs/api.md.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from modules.extension_api import DialectRouter, ExtensionContext, ModelChoice, answered, hookimpl

from .chat import Chat
from .completions import Completions
from .embeddings import Embedding
from .errors import OPENAI
from .models import ModelList
from .rerank import Rerank
from .schemas import CHAT_SCHEMA, COMPLETION_SCHEMA, EMBEDDING_SCHEMA, RERANK_SCHEMA

VERSION = "1.0"


def _takes(schema: dict[str, Any]) -> dict[str, Any]:
    """The request's body for /docs; it is read by our own code, which knows better what to say about a mistake."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@hookimpl
def routes(context: ExtensionContext) -> DialectRouter:
    """All routes below /v1."""
    router = DialectRouter(OPENAI, tags=["OpenAI API"])
    models = ModelChoice(context)
    listed = ModelList(context, models)
    chats = Chat(context, models)
    completions = Completions(context, models)
    embedding = Embedding(context, models)
    ranking = Rerank(context, models)

    @router.post("/v1/chat/completions", response_model=None, openapi_extra=_takes(CHAT_SCHEMA))
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await answered(OPENAI, chats.answer, request)

    @router.post("/v1/completions", response_model=None, openapi_extra=_takes(COMPLETION_SCHEMA))
    async def text_completions(request: Request) -> Response:
        """Continue a text, without a chat template."""
        return await answered(OPENAI, completions.answer, request)

    @router.post("/v1/embeddings", response_model=None, openapi_extra=_takes(EMBEDDING_SCHEMA))
    async def embeddings(request: Request) -> Response:
        """Make vectors of texts."""
        return await answered(OPENAI, embedding.answer, request)

    @router.post("/v1/rerank", response_model=None, openapi_extra=_takes(RERANK_SCHEMA))
    async def rerank(request: Request) -> Response:
        """Order documents by how well they fit a query."""
        return await answered(OPENAI, ranking.answer, request)

    @router.get("/v1/models", response_model=None)
    async def all_models() -> Response:
        """The models there are."""
        return await listed.all()

    @router.get("/v1/models/{name:path}", response_model=None)
    async def one_model(name: str) -> Response:
        """One model."""
        return await listed.one(name)

    return router

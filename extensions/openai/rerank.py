"""/v1/rerank: how well documents fit a query, in the shape of Jina's and Cohere's APIs.

Sources: https://jina.ai/reranker (API), https://docs.cohere.com/reference/rerank, llama.cpp tools/server/README.md.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

from fastapi.responses import Response

from modules.extension_api import BadParameter, Body, ExtensionContext, JsonAnswer, ModelChoice

from .errors import OPENAI
from .fields import unknown_fields
from .schemas import RERANK_SCHEMA

KNOWN = tuple(RERANK_SCHEMA["properties"])
MOST_DOCUMENTS = 1024


class Rerank:
    """Answers with the documents' places, best first."""

    def __init__(self, context: ExtensionContext, models: ModelChoice) -> None:
        self._context = context
        self._models = models

    async def answer(self, body: Body) -> Response:
        """The response to one request. Raises EnginehouseError for a request that cannot be answered."""
        query = body.text("query")
        if not query.strip():
            raise BadParameter("query is missing or empty.", param="query")
        documents = _documents(body.take("documents"))
        top = body.integer("top_n", len(documents), 1, 1 << 31)
        with_text = body.flag("return_documents")
        body.take("user")
        model = self._models.read(body)
        notices = unknown_fields(body, KNOWN)
        await self._models.check(model)

        async def work() -> dict[str, Any]:
            found = await self._context.models.rerank(model, query, documents)
            order = sorted(range(len(documents)), key=lambda place: -found.scores[place])[:top]
            return {
                "id": f"rerank-{uuid.uuid4().hex}",
                "object": "list",
                "model": found.model,
                "results": [
                    {
                        "index": place,
                        "relevance_score": found.scores[place],
                        **({"document": {"text": documents[place]}} if with_text else {}),
                    }
                    for place in order
                ],
                "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
                "enginehouse": {"notices": [asdict(one) for one in dict.fromkeys((*notices, *found.notices))]},
            }

        return JsonAnswer(OPENAI, work)


def _documents(value: Any) -> list[str]:
    """Texts, or objects with a text. Raises BadParameter."""
    if not isinstance(value, list) or not value:
        raise BadParameter("documents has to be a list of at least one text.", param="documents")
    if len(value) > MOST_DOCUMENTS:
        raise BadParameter(f"documents has {len(value)} texts, but {MOST_DOCUMENTS} is the most.", param="documents",
                           hint="Send several requests.")  # fmt: skip
    found = []
    for place, one in enumerate(value):
        text = one.get("text") if isinstance(one, dict) else one
        if not isinstance(text, str) or not text:
            raise BadParameter(f"documents.{place} has to be a text that is not empty, or an object with one as text.",
                               param=f"documents.{place}")  # fmt: skip
        found.append(text)
    return found

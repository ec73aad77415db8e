"""The OpenAI API: /v1/chat/completions, /v1/completions, /v1/models. Built on the public extension API only.

Specification: https://platform.openai.com/docs/api-reference . What differs from it is listed in docs/api.md.
"""

from __future__ import annotations

from fastapi import APIRouter

from modules.extension_api import ExtensionContext, hookimpl

from .chat import Chat
from .completions import Completions
from .endpoint import endpoint
from .models import ModelList
from .schemas import CHAT_SCHEMA, COMPLETION_SCHEMA

VERSION = "1.0"


@hookimpl
def routes(context: ExtensionContext) -> APIRouter:
    """All routes below /v1."""
    router = APIRouter(prefix="/v1", tags=["OpenAI API"])
    models = ModelList(context)
    for path, handler, schema, what in (
        ("/chat/completions", Chat(context, models), CHAT_SCHEMA, "Answer a conversation."),
        ("/completions", Completions(context, models), COMPLETION_SCHEMA, "Continue a text."),
    ):
        content = {"application/json": {"schema": schema}}
        router.add_api_route(
            path,
            endpoint(handler.answer),
            methods=["POST"],
            response_model=None,
            summary=what,
            openapi_extra={"requestBody": {"required": True, "content": content}},
        )
    router.add_api_route("/models", models.all, methods=["GET"], response_model=None, summary="The models there are.")
    router.add_api_route(
        "/models/{name:path}", models.one, methods=["GET"], response_model=None, summary="One model."
    )
    return router

"""/v1/models: what there is."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi.responses import Response

from modules.extension_api import ErrorResponse, ExtensionContext, ModelChoice, json_response

from .errors import OPENAI


class ModelList:
    """The catalogue in OpenAI's shape. Built-in test models are listed only while they are loaded."""

    def __init__(self, context: ExtensionContext, models: ModelChoice) -> None:
        self._models = context.models
        self._choice = models

    async def all(self) -> Response:
        """GET /v1/models"""
        status = self._models.status
        try:
            shown = await self._choice.shown()
        except Exception as error:
            return ErrorResponse(OPENAI, error)
        cards = await asyncio.to_thread(lambda: [_card(file, status) for file in shown])
        return json_response({"object": "list", "data": cards})

    async def one(self, name: str) -> Response:
        """GET /v1/models/{name}"""
        try:
            file = await self._choice.find(name)
        except Exception as error:
            return ErrorResponse(OPENAI, error)
        return json_response(await asyncio.to_thread(_card, file, self._models.status))


def _card(file: Any, status: Any) -> dict[str, Any]:
    try:
        created = 0 if file.builtin else int(file.path.stat().st_mtime)
    except (OSError, AttributeError):
        created = 0
    loaded = file.name == status.model
    info = status.info if loaded else None
    return {
        "id": file.name,
        "object": "model",
        "created": created,
        "owned_by": "enginehouse",
        "enginehouse": {
            "loaded": loaded,
            "loader": status.loader if loaded else next(iter(file.loaders), None),
            "kind": getattr(file, "kind", "model"),
            "format": file.format,
            "architecture": file.arch,
            "quantisation": file.quant,
            "context_length": file.context_length,
            "parameters": file.parameters,
            "size": file.size,
            "capabilities": _capabilities(file),
            "running": None if info is None else _running(info),
        },
    }


def _capabilities(file: Any) -> list[str]:
    """What its files say it was made for; known before it is loaded."""
    found = list(getattr(file, "capabilities", ()))
    if file.chat_template and "template" not in found:
        found.append("template")
    return found


def _running(info: Any) -> dict[str, Any]:
    """What the loaded model turned out to be."""
    return {
        "context": info.context,
        "parallel": info.slots,
        "features": None if info.features is None else list(info.features),
        "adapters": dict(info.adapters),
        "sends_to": info.sends_to,
    }

"""/v1/models: what there is; and which model a request means."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi.responses import Response

from modules.extension_api import ExtensionContext, NotFound

from .encoding import encoded
from .endpoint import Problem

MOST_NAMED = 20


class ModelList:
    """The catalogue in OpenAI's shape. Built-in test models are listed only while they are loaded."""

    def __init__(self, context: ExtensionContext) -> None:
        self._models = context.models

    async def all(self) -> Response:
        """GET /v1/models"""
        status = self._models.status
        try:
            files = await self._models.list()
        except Exception as error:
            return Problem(error)
        shown = [file for file in files if file.runnable and (not file.builtin or file.name == status.model)]
        cards = await asyncio.to_thread(lambda: [_card(file, status) for file in shown])
        return _json({"object": "list", "data": cards})

    async def one(self, name: str) -> Response:
        """GET /v1/models/{name}"""
        try:
            file = await self.find(name)
        except Exception as error:
            return Problem(error)
        return _json(await asyncio.to_thread(_card, file, self._models.status))

    async def check(self, name: str | None) -> None:
        """Raise NotFound (404, model_not_found) for a name that is no model, with the names there are."""
        if name is not None and name != self._models.status.model:
            await self.find(name)

    async def find(self, name: str) -> Any:
        """One model of the catalogue, or NotFound that lists what there is."""
        try:
            return await self._models.get(name)
        except NotFound as error:
            names = [file.name for file in await self._models.list() if file.runnable and not file.builtin]
            there = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
            raise NotFound(
                f"There is no model called {name[:200]!r}. There are: {there or 'none yet'}.",
                hint=error.hint if "Did you mean" in error.hint else "",
                code="model_not_found",
                param="model",
            ) from None


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


def _json(value: Any) -> Response:
    return Response(encoded(value), media_type="application/json")

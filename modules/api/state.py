"""/health and /api/state: what a page has to know when it opens."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter

from modules.app import App
from modules.models.status_json import status_dict
from modules.version import VERSION


async def full_state(app: App) -> dict[str, Any]:
    """The answer of /api/state and the first event of a page.

    What runs is read after everything that waits: what a page hears next goes on from there.
    """
    files, memory, chats_ok = await asyncio.gather(
        asyncio.to_thread(app.catalog.scan), asyncio.to_thread(app.memory), asyncio.to_thread(app.chats_ok)
    )
    return {
        "version": VERSION,
        "model": status_dict(app.models.status),
        "memory": memory,
        "has_models": any(file.runnable and not file.builtin for file in files),
        "chats_folder_ok": chats_ok,
        "problems": app.problems(),
        "settings": app.settings.public(),
        "loaders": [spec.name for spec in app.registry.specs],
        "replies": [{"chat": chat, "message": message} for chat, message in app.replies.written],
        "api": {"base_url": app.url, "key_needed": bool(app.settings.api_key)},
    }


def routes(app: App) -> APIRouter:
    """The state routes."""
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Answers as soon as the server listens."""
        return {"status": "ok"}

    @router.get("/api/state")
    async def state() -> dict[str, Any]:
        """Version, model, memory, problems and public settings."""
        return await full_state(app)

    return router

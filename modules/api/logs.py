"""/api/logs: the last lines of the engine's log, for the person who asks why it failed."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from modules.app import App


def routes(app: App) -> APIRouter:
    """The log route."""
    router = APIRouter()

    @router.get("/api/logs/engine")
    async def engine_log(lines: Annotated[int, Query(ge=1, le=5000)] = 200) -> dict[str, Any]:
        """The last lines the engine wrote."""
        return {"lines": await asyncio.to_thread(app.models.log_lines, lines)}

    return router

"""/api/models: what is on disk, what is loaded, load and unload."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from modules.api.json_response import json_answer, to_json
from modules.app import App
from modules.models.model_file import ModelFile
from modules.models.status_json import status_dict

WRONG_SECONDS = 0.25  # in which what is wrong with a request (its name, a setting) is known


class LoadBody(BaseModel):
    """What to load. `settings` are the loader's own, by name; those left out are automatic.

    `fallback` true = with smaller settings when it does not fit; left out = as the setting load_fallback says.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=500)
    loader: str | None = None
    settings: dict[str, Any] | None = None
    fallback: bool | None = None


def file_dict(file: ModelFile, loaded: bool) -> dict[str, Any]:
    """A ModelFile for clients: without its path, and of its facts what people ask for."""
    plain = {one.name: getattr(file, one.name) for one in fields(file) if one.name not in ("path", "facts")}
    leaves = str(file.facts.extra.get("sends_to", ""))
    return {**plain, "installs": dict(file.installs), "base": file.facts.base, "sends_to": leaves, "loaded": loaded}


def routes(app: App) -> APIRouter:
    """The model routes."""
    router = APIRouter()

    @router.get("/api/models", response_class=Response)
    async def list_models() -> Response:
        """Every model file, also those that cannot run (with the reason)."""
        loaded = {status.model for status in app.models.statuses if status.state in ("ready", "busy")}

        def read() -> bytes:
            files = [file_dict(file, file.name in loaded) for file in app.catalog.scan()]
            return to_json({"models": files, "folder": str(app.paths.models)})

        return json_answer(await asyncio.to_thread(read))

    @router.post("/api/models/load")
    async def load(body: LoadBody, response: Response, wait: Annotated[bool, Query()] = False) -> dict[str, Any]:
        """Load a model. Answers at once (202; progress by events), or with ?wait=1 when it is ready or failed."""
        if wait:
            return status_dict(await app.models.load(body.name, body.loader, body.settings, body.fallback))
        loading = app.begin_load(body.name, body.loader, body.settings, body.fallback)
        await asyncio.wait([loading], timeout=WRONG_SECONDS)
        if not loading.done():
            loading.add_done_callback(app.tell_failure)
        elif not loading.cancelled() and loading.exception() is not None:
            loading.result()
        response.status_code = 202
        return status_dict(app.models.status)

    @router.post("/api/models/unload")
    async def unload() -> dict[str, Any]:
        """Unload the model, or give up a load that is going on. Running replies fail and keep what they have.

        Their error says so (`engine_stopped`).
        """
        await app.models.unload()
        return status_dict(app.models.status)

    return router

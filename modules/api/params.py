"""/api/params and /api/presets: the sampling values in use and sets of them by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body

from modules.app import App
from modules.sampling.params import PARAMS, Param

_SHOWN = ("name", "kind", "label", "help", "group", "low", "high", "step", "default")


def param_dict(param: Param) -> dict[str, Any]:
    """One row of PARAMS as a client needs it to draw a control."""
    return {name: getattr(param, name) for name in _SHOWN} | {"choices": list(param.choices)}


def param_routes(app: App) -> APIRouter:
    """The routes of the values in use."""
    router = APIRouter()

    def now() -> dict[str, Any]:
        return {"values": dict(app.params.values), "preset": app.params.preset, "modified": app.params.modified}

    @router.get("/api/params")
    async def get_params() -> dict[str, Any]:
        """The table, the values, and what the loader honours."""
        return {"params": [param_dict(param) for param in PARAMS], **now(), "supported": app.reply_params.supported()}

    @router.patch("/api/params")
    async def change_params(changes: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Set values by name; all or none. Gives what changed."""
        changed = await asyncio.to_thread(app.params.set, changes)
        return {**now(), "values": changed}

    @router.post("/api/params/reset")
    async def reset_params() -> dict[str, Any]:
        """Back to the values of a fresh installation."""
        await asyncio.to_thread(app.params.reset)
        return now()

    return router


def preset_routes(app: App) -> APIRouter:
    """The routes of the presets."""
    router = APIRouter()

    async def listed(first: Callable[[], Any] | None = None) -> dict[str, Any]:
        """The list, after doing `first` in a thread."""
        if first is not None:
            await asyncio.to_thread(first)
        found = await asyncio.to_thread(app.presets.names)
        presets = [asdict(one) for one in found]
        return {"presets": presets, "preset": app.params.preset, "modified": app.params.modified}

    @router.get("/api/presets")
    async def get_presets() -> dict[str, Any]:
        """Names, and which one the values come from."""
        return await listed()

    @router.put("/api/presets/{name}")
    async def save_preset(name: str) -> dict[str, Any]:
        """Save the values in use under this name."""

        def save() -> None:
            app.presets.save(name, app.params.values)
            app.params.load_preset(name)

        return await listed(save)

    @router.delete("/api/presets/{name}")
    async def delete_preset(name: str) -> dict[str, Any]:
        """Delete a preset of the person's own; one that is shipped stays."""
        return await listed(lambda: app.presets.delete(name))

    @router.post("/api/presets/{name}/load")
    async def load_preset(name: str) -> dict[str, Any]:
        """Make the preset's values those in use."""
        await asyncio.to_thread(app.params.load_preset, name)
        state = await listed()
        return {**state, "values": dict(app.params.values)}

    return router

"""/api/hardware and /api/models/estimate: what the machine has, and what a load would take of it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from modules.app import App
from modules.estimates.fit import device_name
from modules.estimates.values import Estimate
from modules.hardware.values import Hardware


class EstimateBody(BaseModel):
    """A load to think about. `settings` as in a load: left out = as it was loaded last."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=500)
    loader: str | None = None
    settings: dict[str, Any] | None = None


def hardware_dict(machine: Hardware) -> dict[str, Any]:
    """The machine for clients. Bytes."""
    devices = [{**asdict(device), "device": device_name(device)} for device in machine.devices]
    return {
        "cores": machine.cores, "ram_total": machine.ram_total, "ram_free": machine.ram_free, "devices": devices,
        "cpu_features": list(machine.cpu_features), "unknown": list(machine.unknown),
    }  # fmt: skip


def estimate_dict(estimate: Estimate, machine: Hardware) -> dict[str, Any]:
    """An estimate for clients: each share with what its device has free. Bytes."""
    room: dict[str, tuple[str, int | None, int | None]] = {"cpu": ("Memory", machine.ram_total, machine.ram_free)}
    room |= {device_name(device): (device.name, device.total, device.free) for device in machine.devices}
    shares = []
    for share in estimate.shares:
        name, total, free = room.get(share.device, (share.device, None, None))
        shares.append({**asdict(share), "sum": share.total, "name": name, "device_total": total, "device_free": free})
    return {
        "shares": shares, "total": estimate.total, "verdict": estimate.verdict, "why": estimate.why,
        "partial": list(estimate.partial), "factor": estimate.factor,
    }  # fmt: skip


def routes(app: App) -> APIRouter:
    """The routes about memory."""
    router = APIRouter()

    @router.get("/api/hardware")
    async def hardware() -> dict[str, Any]:
        """Processor, memory and graphics devices; what could not be read is said in `unknown`."""
        return hardware_dict(await asyncio.to_thread(app.models.estimating.hardware.read))

    @router.post("/api/models/estimate")
    async def estimate(body: EstimateBody) -> dict[str, Any]:
        """What that load would take on each device, whether it fits, and why. Nothing is loaded."""

        def think() -> dict[str, Any]:
            plan = app.models.planned(body.name, body.loader, body.settings)
            made = app.models.estimating.estimate(plan.model, plan.spec, plan.settings)
            told = estimate_dict(made, app.models.estimating.machine(plan.spec))
            return {**told, "model": plan.model.name, "loader": plan.spec.name, "settings": dict(plan.settings)}

        return await asyncio.to_thread(think)

    return router

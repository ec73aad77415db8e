"""A ModelStatus as clients see it: JSON-ready, without the engine's private address and key."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from modules.models.status import ModelStatus
from modules.types import EngineInfo


def status_dict(status: ModelStatus) -> dict[str, Any]:
    """Every field but the endpoint."""
    return {
        "state": status.state,
        "model": status.model,
        "loader": status.loader,
        "why": status.why,
        "progress": status.progress,
        "stage": status.stage,
        "error": None if status.error is None else dict(status.error),
        "info": None if status.info is None else _info(status.info),
        "memory_bytes": status.memory_bytes,
        "running": status.running,
        "waiting": status.waiting,
        "settings": dict(status.settings),
    }


def _info(info: EngineInfo) -> dict[str, Any]:
    facts = asdict(info)
    del facts["endpoint"]
    return facts

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
        "notices": clamped_settings(status),
    }


def clamped_settings(status: ModelStatus) -> list[dict[str, Any]]:
    """The settings that the running engine holds to another value than the one given, as notices `value_clamped`.

    Each has the keys code, param, given, used and message. Only the context is checked: it is the one setting that
    every engine reports back. A given 0 means "choose one", so any value is right then.
    """
    given = status.settings.get("context")
    if status.info is None or not isinstance(given, int) or not given or given == status.info.context:
        return []
    used = status.info.context
    why = str(status.info.details.get("context_why", ""))
    message = f"Context length: {given:,} was set, {used:,} is used. {why}".strip()
    return [{"code": "value_clamped", "param": "context", "given": given, "used": used, "message": message}]


def _info(info: EngineInfo) -> dict[str, Any]:
    facts = asdict(info)
    del facts["endpoint"]
    return facts

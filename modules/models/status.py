"""What the rest of the program is told about a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from modules.types import EngineInfo

ModelState = Literal["empty", "starting", "ready", "busy", "stopping", "crashed", "failed"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A snapshot of one model's life.

    why       how the loader and the settings were chosen, in people's words
    progress  0..1 while loading, else None; `stage` says what is being done
    error     the keys of errors.as_dict, for "crashed" and "failed"
    running, waiting   requests in the engine, and requests that wait for it
    settings  the loader's settings in force
    """

    state: ModelState = "empty"
    model: str | None = None
    loader: str | None = None
    why: str = ""
    progress: float | None = None
    stage: str = ""
    error: Mapping[str, Any] | None = None
    info: EngineInfo | None = None
    memory_bytes: int = 0
    running: int = 0
    waiting: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

"""A value with its reason. The launcher's own, because it stands alone: nothing above it may break a start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chosen(Generic[T]):
    """A value picked automatically, with the reason in people's words."""

    value: T
    why: str

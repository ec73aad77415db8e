"""The hooks an extension can implement: their names, arguments and meaning, in one place.

An extension marks a function with `@hookimpl` and gives it one of these names; it may take any subset
of the arguments. Every hook is called on its own and isolated: one that raises, hangs or returns
nonsense is named in a Notice and the reply goes on without it. See docs/extensions.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pluggy

from modules.types import Chunk, GenerationRequest

if TYPE_CHECKING:
    from loaders.base import LoaderSpec
    from modules.hooks.context import ExtensionContext

PROJECT = "enginehouse"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def setup(context: ExtensionContext) -> None:
    """Called once, after every part of the program is there and before the first request."""


@hookspec
def loaders() -> list[LoaderSpec]:  # type: ignore[empty-body]
    """Further loaders; called once, before the model list is built. A known name is replaced."""


@hookspec
def routes(context: ExtensionContext) -> Any:
    """A fastapi.APIRouter (or None) to add to the server; key, Host and Origin are checked before it."""


@hookspec
def edit_request(request: GenerationRequest, context: ExtensionContext) -> GenerationRequest | None:
    """Called before each reply; a changed copy of the request, or None to leave it. May be `async def`."""


@hookspec
def wrap_stream(request: GenerationRequest, chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk] | None:
    """An async iterator over this reply's chunks that reads `chunks`, or None to leave them as they are."""

"""Which model a request means: a name of the catalogue, an alias from the extension's options, or the loaded one."""

from __future__ import annotations

import difflib

from modules.dialects.body import Body
from modules.errors import NotFound
from modules.hooks.context import ExtensionContext
from modules.models.model_file import ModelFile

MOST_NAMED = 20


class ModelChoice:
    """The models as requests name them.

    `model_aliases` in the extension's options says which names stand for which model; "" = the loaded one.
    """

    def __init__(self, context: ExtensionContext) -> None:
        self._context = context
        self._models = context.models

    def read(self, body: Body, field: str = "model") -> str | None:
        """The catalogue's name; None for the model that is loaded. Raises BadParameter."""
        name = body.text(field).strip()
        aliases = self._context.options.get("model_aliases") or {}
        if isinstance(aliases, dict) and name in aliases:
            name = str(aliases[name] or "")
        return None if name in ("", "default") else name

    async def check(self, name: str | None) -> None:
        """Raise NotFound (404, model_not_found) for a name that is no model, with the names there are."""
        if name is not None and name != self._models.status.model:
            await self.find(name)

    async def find(self, name: str) -> ModelFile:
        """One model of the catalogue, or NotFound that lists what there is."""
        try:
            return await self._models.get(name)
        except NotFound:
            names = [file.name for file in await self._models.list() if file.runnable and not file.builtin]
            there = ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")
            near = difflib.get_close_matches(name[:200], names, 1)
            raise NotFound(
                f"There is no model called {name[:200]!r}. There are: {there or 'none yet'}.",
                hint=f"Did you mean {near[0]}?" if near else "",
                code="model_not_found",
                param="model",
            ) from None

    async def shown(self) -> list[ModelFile]:
        """The models that can run; built-in test models only while they are loaded."""
        loaded = self._models.status.model
        return [
            file for file in await self._models.list() if file.runnable and (not file.builtin or file.name == loaded)
        ]

"""OpenAI's addresses, and errors in its shape: {"error": {message, type, param, code}}."""

from __future__ import annotations

from typing import Any

from modules.extension_api import Dialect, EnginehouseError


def _shape(error: EnginehouseError) -> dict[str, Any]:
    message = f"{error.message} {error.hint}".strip()
    return {"error": {"message": message, "type": error.kind, "param": error.param, "code": error.code}}


OPENAI = Dialect("OpenAI", ("/v1",), _shape)

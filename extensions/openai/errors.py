"""Errors in OpenAI's shape: {"error": {message, type, param, code}}."""

from __future__ import annotations

import logging

from modules.extension_api import EnginehouseError

from .encoding import encoded

log = logging.getLogger(__name__)


def error_answer(error: Exception) -> tuple[int, bytes]:
    """The status and the JSON body of an error; anything unexpected is logged and told as a fault of the server."""
    if not isinstance(error, EnginehouseError):
        log.error("a request to the OpenAI API failed", exc_info=error)
        error = EnginehouseError("The server failed at this request.", hint="Its log says more.")
    message = f"{error.message} {error.hint}".strip()
    body = {"error": {"message": message, "type": error.kind, "param": error.param, "code": error.code}}
    return error.status, encoded(body)

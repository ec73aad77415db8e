"""Every error a client sees has one shape: {"error": {message, hint, type, code, param, status}}."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from modules.dialects.dialect import Dialect, dialect_of
from modules.errors import BadParameter, BadRequest, EnginehouseError, NotFound, seconds_to_wait

_log = logging.getLogger("enginehouse.api")
_LONGEST_NAME, _LONGEST_SAID = 200, 500  # an error does not echo what was sent


class MethodNotAllowed(BadRequest):
    """The address exists, but not for this method."""

    status, code = 405, "method_not_allowed"


def content(error: EnginehouseError) -> dict[str, Any]:
    """The error as a JSON body."""
    return {"error": {**error.as_dict(), "type": error.kind}}


def answer(error: EnginehouseError) -> JSONResponse:
    """The error as a response."""
    headers = {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    elif wait := seconds_to_wait(error):
        headers["retry-after"] = str(wait)
    return JSONResponse(content(error), error.status, headers)


def answer_at(error: EnginehouseError, path: str, dialects: Sequence[Dialect]) -> Response:
    """The error as a response in the shape of the API dialect that an address is under, else in ours."""
    dialect = dialect_of(path, dialects)
    if dialect is None:
        return answer(error)
    ours = answer(error)
    try:
        body = dialect.error(error).body
    except Exception:  # an extension's own function; an error is answered all the same
        _log.exception("the API dialect %s could not put an error in its shape", dialect.name)
        return ours
    kept = {name: ours.headers[name] for name in ("www-authenticate", "retry-after") if name in ours.headers}
    return Response(body, error.status, kept, media_type="application/json")


def from_validation(problems: Sequence[Any]) -> BadRequest:
    """Our error for what pydantic found: the first problem, naming the field and what it has to be."""
    first: dict[str, Any] = problems[0] if problems else {"loc": (), "msg": "Something is missing.", "type": ""}
    where = [str(part) for part in first["loc"]]
    if first["type"].startswith("json_invalid"):
        reason = first.get("ctx", {}).get("error", "it ends too early")
        return BadRequest(f"The body is not JSON: {reason}.", hint="Send a JSON object.", code="invalid_json")
    source, *rest = where or ["body"]
    param = ".".join(rest)[:_LONGEST_NAME]
    said = str(first["msg"]).removeprefix("Value error, ").rstrip(".")[:_LONGEST_SAID]
    if not param:
        return BadRequest(f"The {source} is not understood: {said[:1].lower()}{said[1:]}.",
                          hint="Send a JSON object with Content-Type: application/json.")  # fmt: skip
    if first["type"] == "missing":
        return BadParameter(f"{param} is missing.", hint=f"Add it to the {source}.", param=param)
    if first["type"] == "extra_forbidden":
        return BadParameter(f"There is no field called {param!r}.", hint="See docs/http-api.md.", param=param)
    return BadParameter(f"{param}: {said[:1].lower()}{said[1:]}.", hint="See docs/http-api.md.", param=param)


def from_http(error: HTTPException) -> EnginehouseError:
    """Our error for the framework's own answers (no such route, wrong method)."""
    if error.status_code == 404:
        return NotFound("There is nothing at this address.", hint="See docs/http-api.md for the addresses.")
    if error.status_code == 405:
        return MethodNotAllowed("This address does not take that method.", hint="See docs/http-api.md.")
    made = BadRequest(str(error.detail) or HTTPStatus(error.status_code).phrase)
    made.status = error.status_code
    return made


def unexpected() -> EnginehouseError:
    """What a client is told of a fault of ours: nothing about its insides."""
    return EnginehouseError("Something went wrong inside the server.", hint="The log has the details.")


def known(error: Exception) -> EnginehouseError:
    """Our error for anything a route or the framework raises."""
    if isinstance(error, EnginehouseError):
        return error
    if isinstance(error, RequestValidationError):
        return from_validation(error.errors())
    return from_http(error) if isinstance(error, HTTPException) else unexpected()


def install(api: FastAPI, dialects: Sequence[Dialect] = ()) -> None:
    """Give every error of these routes our shape, or that of the API dialect its address is under."""

    async def answered(request: Request, error: Exception) -> Response:
        found = known(error)
        if found is not error and not isinstance(error, (RequestValidationError, HTTPException)):
            # The framework raises it again after this answer, and the server logs it with its traceback.
            _log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
        return answer_at(found, request.url.path, dialects)

    for kind in (EnginehouseError, RequestValidationError, HTTPException, Exception):
        api.add_exception_handler(kind, answered)

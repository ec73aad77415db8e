"""One tree of errors.

    EnginehouseError
    ├── BadRequest            400  the request cannot be understood or is not allowed
    │   ├── BadParameter           one parameter is wrong; `param` names it
    │   └── ContextOverflow        the prompt does not fit the context
    ├── Unauthorized          401  no key, or a wrong one
    ├── Forbidden             403  a page or address that may not talk to this server
    ├── NotFound              404  a name that is not there
    ├── Conflict              409  somebody else changed it first (a stale tab)
    ├── TooLarge              413  a body over its limit
    ├── UnsupportedMediaType  415  a body that is not marked as JSON
    ├── Unsupported           422  understood, but this loader or model cannot do it
    ├── Cancelled             499  stopped by the person or the client
    ├── EngineError           500  an engine failed
    │   ├── EngineCrashed          its process ended
    │   └── LoadFailed             the model did not load
    ├── RateLimited           429  a server of others has too much to do; `retry_after` says how long to wait
    ├── StorageError          507  the disk refused (full, read-only, gone)
    └── NotReady              503  no model is loaded, or one is loading

`message` is a sentence for people, `hint` the next step, `code` a stable word for programs, `status`
the HTTP status; `fallback`, for a load that failed, is what to try instead: {"model", "loader", "settings" (complete),
"says" (a sentence), "changes" ([{"name", "label", "was", "now"}])}; `retry_after` is seconds after which it may work,
None = nobody said; `figures` are the numbers of the message, for a prompt that does not fit {"prompt_tokens", "needed"
(prompt and reply, tokens), "limit"}. Raise; catch only at the edges (a route, an event, the worker's loop).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

OUT_OF_MEMORY = "out_of_memory"
"""Code of an EngineError whose cause is too little memory: smaller settings may help."""


class EnginehouseError(Exception):
    """Base of every error this program raises on purpose."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        self.fallback: Mapping[str, Any] | None = None
        self.retry_after: float | None = None
        self.figures: Mapping[str, int] = {}
        if code is not None:
            self.code = code

    @property
    def kind(self) -> str:
        """The `type` OpenAI's clients know this class of error by."""
        known = {401: "authentication_error", 403: "permission_error", 409: "conflict_error", 429: "rate_limit_error"}
        return known.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-ready values; the same keys on every surface."""
        facts: dict[str, Any] = {
            "message": self.message,
            "hint": self.hint,
            "code": self.code,
            "param": self.param,
            "status": self.status,
        }
        if self.retry_after is not None:
            facts["retry_after"] = self.retry_after
        if self.figures:
            facts["figures"] = dict(self.figures)
        return facts if self.fallback is None else {**facts, "fallback": dict(self.fallback)}


class BadRequest(EnginehouseError):
    status, code = 400, "bad_request"


class BadParameter(BadRequest):
    code = "invalid_parameter"


class ContextOverflow(BadRequest):
    code = "context_length_exceeded"


class Unauthorized(EnginehouseError):
    status, code = 401, "invalid_api_key"


class Forbidden(EnginehouseError):
    status, code = 403, "forbidden"


class NotFound(EnginehouseError):
    """`near` are the names that are nearest to the one asked for; the hint names them to people."""

    status, code = 404, "not_found"
    near: tuple[str, ...] = ()


class Conflict(EnginehouseError):
    status, code = 409, "conflict"


class TooLarge(EnginehouseError):
    status, code = 413, "too_large"


class UnsupportedMediaType(BadRequest):
    status, code = 415, "unsupported_media_type"

    @classmethod
    def for_body(cls, content_type: str) -> UnsupportedMediaType:
        """The error for a body that is not marked as JSON."""
        came = f"as {content_type.split(';')[0].strip()[:80]}" if content_type.strip() else "without a type"
        return cls(
            f"The body has to be JSON, but it came {came}.",
            hint="Add the header Content-Type: application/json (with curl: -H 'Content-Type: application/json').",
        )


class Unsupported(EnginehouseError):
    status, code = 422, "unsupported"


class Cancelled(EnginehouseError):
    status, code = 499, "cancelled"


class EngineError(EnginehouseError):
    code = "engine_error"


class EngineCrashed(EngineError):
    code = "engine_crashed"


class LoadFailed(EngineError):
    code = "load_failed"


class NotReady(EnginehouseError):
    status, code = 503, "not_ready"


class RateLimited(EnginehouseError):
    status, code = 429, "rate_limited"


class StorageError(EnginehouseError):
    status, code = 507, "storage_error"


BY_CODE: dict[str, type[EnginehouseError]] = {
    cls.code: cls
    for cls in (
        EnginehouseError, BadRequest, BadParameter, ContextOverflow, Unauthorized, Forbidden,
        NotFound, Conflict, TooLarge, Unsupported, Cancelled, EngineError, EngineCrashed,
        LoadFailed, NotReady, RateLimited, StorageError, UnsupportedMediaType,
    )
}  # fmt: skip

BY_STATUS: dict[int, type[EnginehouseError]] = {
    cls.status: cls
    for cls in (
        BadRequest, UnsupportedMediaType, Unauthorized, Forbidden, NotFound, Conflict, TooLarge, Unsupported,
        Cancelled, EngineError, NotReady, RateLimited, StorageError,
    )
}  # fmt: skip


def from_dict(data: dict[str, Any]) -> EnginehouseError:
    """Rebuild an error that crossed a process boundary as `as_dict`; an unknown code gets the class of its status."""
    code = str(data.get("code", ""))
    cls = BY_CODE.get(code) or BY_STATUS.get(data.get("status", 500), EngineError)
    error = cls(
        str(data.get("message", "The engine failed without saying why.")),
        hint=str(data.get("hint", "")),
        code=code or None,
        param=data.get("param"),
    )
    error.retry_after = data.get("retry_after")
    error.figures = data.get("figures") or {}
    return error


def seconds_to_wait(error: Exception) -> int:
    """What the header Retry-After of an answer with this error says, in whole seconds; 0 = it has none."""
    if not isinstance(error, EnginehouseError) or error.status not in (429, 503):
        return 0
    return max(1, math.ceil(error.retry_after or 0))


_LONGEST_SHOWN = 60  # characters


def shown_value(value: Any) -> str:
    """A value as an error message quotes it: at most about 60 characters, in time that does not grow with the value."""
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST_SHOWN else repr(value[: _LONGEST_SHOWN - 3]) + "…"
    if isinstance(value, (list, tuple, dict)):
        items = [*value.items()] if isinstance(value, dict) and len(value) <= 4 else value
        plain = len(items) <= 4 and all(
            isinstance(part, (str, int, float, type(None)))
            for item in items
            for part in (item if isinstance(value, dict) else (item,))
        )
        inside = ", ".join(
            f"{shown_value(item[0])}: {shown_value(item[1])}" if isinstance(value, dict) else shown_value(item)
            for item in (items if plain else ())
        )
        if plain and len(inside) <= _LONGEST_SHOWN:
            return f"{{{inside}}}" if isinstance(value, dict) else f"[{inside}]"
        items_word = "item" if len(value) == 1 else "items"
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,} {items_word}"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return repr(value)[:_LONGEST_SHOWN]

"""What llama-server says of a request it did not take, as our errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from modules.errors import BadRequest, ContextOverflow, EngineError, EnginehouseError, NotReady

_IMAGE = re.compile(
    r"failed to (?:load|decode|read) (?:the )?(?:image|media)|number of (?:bitmaps|media|markers)", re.I
)


def refusal(status: int, raw: bytes) -> EnginehouseError:
    """The error of an answer that is not 200."""
    try:
        data = orjson.loads(raw)
    except ValueError:
        data = {}
    error = data.get("error", {}) if isinstance(data, dict) else {}
    return reported(error if isinstance(error, dict) else {"message": str(error)}, status)


def reported(error: Mapping[str, Any], status: int) -> EnginehouseError:
    said = str(error.get("message") or f"The engine refused the request (HTTP {status}).")[:1000]
    if error.get("type") == "exceed_context_size_error":
        prompt, limit = error.get("n_prompt_tokens", "?"), error.get("n_ctx", "?")
        return ContextOverflow(
            f"The prompt has {prompt} tokens, but the context is {limit}.",
            hint="Shorten it, or load the model with a larger context.",
        )
    status = int(error.get("code", status)) if isinstance(error.get("code", status), int) else status
    if "context size has been exceeded" in said.lower():
        return EngineError(
            "The context filled up: the replies that run at the same time share it.",
            hint="Try again, or load the model with a larger context.", code="context_full")  # fmt: skip
    if status == 503:
        return NotReady("The engine is still loading.", hint="Try again in a moment.")
    if "too large to process" in said or "larger than the max context" in said:
        what = said[:1].upper() + said[1:].rstrip(".")
        return ContextOverflow(f"{what}.", hint="Shorten the text, or load the model with a larger context.")
    if _IMAGE.search(said):
        return BadRequest(f"The engine cannot read an image: {said}.", param="images")
    if 400 <= status < 500 and status not in (401, 403):
        return BadRequest(said)
    return EngineError(f"The engine reported: {said}")

"""Looks at a reply that a JSON schema was asked for, and says when it is no JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from modules.types import Chunk, Done, Notice, Text


async def watched(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The chunks of a reply that a JSON schema was asked for, with a Notice before the end when it is no JSON.

    Only a reply the model ended by itself is judged: one that was cut cannot be whole.
    """
    texts: list[str] = []
    async with aclosing(chunks):
        async for chunk in chunks:
            if type(chunk) is Text:
                texts.append(chunk.text)
            elif type(chunk) is Done and chunk.reason == "stop" and chunk.stop is None and not _is_json("".join(texts)):
                yield Notice(
                    "schema_not_enforced",
                    "The reply is not JSON: the engine did not keep to the schema it was given.",
                    param="response_format",
                )
            yield chunk


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

"""Whether a JSON schema is enforced: asked before a reply, and looked at afterwards.

Engines compile schemas with llguidance. What it cannot compile (uniqueItems, not, look-ahead in a pattern, …) an
engine only logs, and then makes text without any constraint. So the same compiler is asked first, here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from modules.errors import BadParameter
from modules.types import Chunk, Done, Notice, Text

CHECK_SECONDS = 10.0  # the compiler's own limits end it after a second or two
REMEMBERED = 64  # schemas whose verdict is kept, as hashes
_PLACE = re.compile(r'^(?:at \d+\(\d+\): )?(?:failed to compile JSON schema: |failed to parse "%json": )?')
_LONGEST_REASON = 300  # characters
_OWN_GRAMMAR = "%llguidance"


class SchemaChecks:
    """Asks the compiler once for each schema, for the n choices of a request and for the requests after it."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, str | None] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[str | None]] = {}

    async def check(self, schema: Mapping[str, Any]) -> Notice | None:
        """Returns a Notice when there is no compiler to ask. Raises BadParameter naming what cannot be enforced."""
        try:
            reason = await asyncio.wait_for(self._reason(schema), CHECK_SECONDS)
        except TimeoutError:
            reason = "it takes too long to compile"
        if reason is None:
            said = "llguidance is not installed, so the JSON schema was not checked beforehand."
            return Notice("schema_unchecked", said, param="response_format")
        if reason:
            raise BadParameter(
                f"This JSON schema cannot be enforced: {reason}",
                hint="Leave that part out of the schema, and check it in the reply.",
                param="response_format",
                code="schema_unsupported",
            )
        return None

    async def _reason(self, schema: Mapping[str, Any]) -> str | None:
        key = hashlib.sha256(json.dumps(dict(schema)).encode()).digest()
        if key not in self._known:
            task = self._asking.get(key)
            if task is None:
                task = self._asking[key] = asyncio.ensure_future(self._ask(key, schema))
            return await asyncio.shield(task)  # others may wait for it too
        self._known.move_to_end(key)
        return self._known[key]

    async def _ask(self, key: bytes, schema: Mapping[str, Any]) -> str | None:
        """The compiler at work in a thread, where it lets go of the interpreter."""
        try:
            reason = self._known[key] = await asyncio.to_thread(why_not, schema)
        finally:
            del self._asking[key]
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return reason


def why_not(schema: Mapping[str, Any]) -> str | None:
    """Why the schema cannot be enforced, "" when it can; None without llguidance. Takes 1 ms to about 2 s."""
    try:
        from llguidance import LLMatcher
    except ImportError:
        return None
    found = str(LLMatcher.validate_grammar(f"{_OWN_GRAMMAR} {{}}\nstart: %json {json.dumps(dict(schema))}"))
    # The compiler quotes the grammar below its reason: the schema, which the caller knows.
    reason = " ".join(_PLACE.sub("", found.split("\n   1 | ")[0]).split())
    return reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + "…"


def check_grammar(grammar: str) -> None:
    """Raises BadParameter for a grammar in llguidance's own language: what it cannot compile would be ignored."""
    if grammar.lstrip().startswith(_OWN_GRAMMAR):
        raise BadParameter(
            "A grammar has to be GBNF; llguidance's own language is not offered.",
            hint="For JSON, use response_format with a JSON schema.",
            param="grammar",
        )


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

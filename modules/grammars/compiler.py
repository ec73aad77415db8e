"""Asks a child process whether a grammar or a JSON schema can be enforced.

Engines compile schemas and grammars with llguidance. What it cannot compile (uniqueItems, not, look-ahead in a
pattern, …) an engine only logs, and then writes text without any constraint. So the same compiler is asked first, in
a process of its own: one that takes all memory, hangs or dies costs only the request that brought the grammar.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from modules.errors import BadParameter
from modules.grammars.limits import check_grammar_size, check_schema_size
from modules.types import Notice

ROOT = Path(__file__).resolve().parents[2]
CHECK_SECONDS = 10.0  # an ordinary grammar takes 0.1 s, most of it the start of the process
REMEMBERED = 64  # grammars and schemas whose verdict is kept, as hashes
AT_ONCE = 2
"""Child processes at a time: more hostile grammars than that wait for each other, not for other requests."""
_OWN_GRAMMAR = "%llguidance"
Kind = Literal["grammar", "schema"]


async def ask_child(kind: Kind, text: str) -> str | None:
    """Why it cannot be enforced, "" when it can, None without llguidance. The child ends with a cancel."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modules.grammars.compiler_process", cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await process.communicate(json.dumps({"kind": kind, "text": text}).encode())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        reason = json.loads(out)["reason"]
    except (ValueError, KeyError):
        return "compiling it takes more memory or time than is allowed"
    return reason if reason is None else str(reason)


class ConstraintChecks:
    """Asks the compiler once for each grammar and schema, for the n choices of a request and the requests after it."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, str | None] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[str | None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def check(self, grammar: str, schema: Mapping[str, Any] | None) -> Notice | None:
        """Returns a Notice when there is no compiler to ask. Raises BadParameter naming what cannot be enforced."""
        if grammar:
            return await self._check_grammar(grammar)
        return None if schema is None else await self._check_schema(schema)

    async def _check_grammar(self, grammar: str) -> Notice | None:
        check_grammar_size(grammar)
        if grammar.lstrip().startswith(_OWN_GRAMMAR):
            raise BadParameter(
                "A grammar has to be GBNF; llguidance's own language is not offered.",
                hint="For JSON, use response_format with a JSON schema.", param="grammar",
            )  # fmt: skip
        reason = await self._verdict("grammar", grammar)
        if reason is None:
            said = "llguidance is not installed, so the grammar was not checked beforehand."
            return Notice("grammar_unchecked", said, param="grammar")
        if reason:
            raise BadParameter(
                f"The grammar cannot be used: {reason}.", hint="See grammars/README.md of llama.cpp for the notation.",
                param="grammar", code="grammar_unsupported",
            )  # fmt: skip
        return None

    async def _check_schema(self, schema: Mapping[str, Any]) -> Notice | None:
        check_schema_size(schema)
        reason = await self._verdict("schema", json.dumps(dict(schema)))
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

    async def _verdict(self, kind: Kind, text: str) -> str | None:
        key = hashlib.sha256(f"{kind} {text}".encode("utf-8", "surrogatepass")).digest()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._ask(key, kind, text))
        return await asyncio.shield(task)  # others may wait for it too

    async def _ask(self, key: bytes, kind: Kind, text: str) -> str | None:
        try:
            async with self._room:
                reason = await asyncio.wait_for(ask_child(kind, text), CHECK_SECONDS)
            self._known[key] = reason
        except TimeoutError:  # not remembered: a busy machine must not refuse an ordinary grammar for good
            return "it takes too long to compile"
        finally:
            del self._asking[key]
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return reason

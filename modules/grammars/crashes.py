"""Grammars and schemas that crashed an engine: refused from then on, and not held against the model."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict

from modules.errors import BadRequest, EngineCrashed
from modules.types import Failed, GenerationRequest

REMEMBERED = 256
STRIKES = 2
"""Crashes after which a grammar is refused when others had begun beside it; alone, the first is enough."""


class GrammarCrashes:
    """The grammars and schemas of running requests, and those under which an engine crashed before its first token."""

    def __init__(self) -> None:
        self._starting: dict[object, bytes] = {}
        self._strikes: OrderedDict[bytes, int] = OrderedDict()

    def check(self, request: GenerationRequest) -> None:
        """Raises BadRequest (code "grammar_crashed_engine") for one that crashed an engine before."""
        key = fingerprint(request)
        if key is not None and self._strikes.get(key, 0) >= STRIKES:
            which, param = ("grammar", "grammar") if request.grammar else ("JSON schema", "response_format")
            raise BadRequest(f"This {which} crashed the engine, so it is not used again.", param=param,
                             hint=f"Change the {which}, or leave it out.", code="grammar_crashed_engine")  # fmt: skip

    def begin(self, run: object, request: GenerationRequest) -> None:
        """A request is handed to the engine; it is under suspicion until `wrote` or `end`."""
        key = fingerprint(request)
        if key is not None:
            self._starting[run] = key

    def wrote(self, run: object) -> None:
        """Its first token came."""
        self._starting.pop(run, None)

    end = wrote

    def to_blame(self, run: object, end: Failed) -> bool:
        """Whether the request ended by a crash of the engine that its grammar is held to have caused."""
        key = self._starting.get(run)
        if key is None or end.error.get("code") != EngineCrashed.code:
            return False
        alone = set(self._starting.values()) == {key}
        self._strikes[key] = STRIKES if alone else self._strikes.get(key, 0) + 1
        self._strikes.move_to_end(key)
        while len(self._strikes) > REMEMBERED:
            self._strikes.popitem(last=False)
        return True


def fingerprint(request: GenerationRequest) -> bytes | None:
    """A hash of the request's grammar or schema; None without one."""
    if request.grammar:
        text = request.grammar
    elif request.json_schema is not None:
        text = json.dumps(dict(request.json_schema), sort_keys=True, default=str)
    else:
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

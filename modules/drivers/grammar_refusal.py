"""Finds out whether llama.cpp enforces a request's grammar.

The engine only logs what it cannot compile, and then writes unconstrained text.
"""

from __future__ import annotations

import re

from modules.engine.worker_log import WorkerLog
from modules.errors import BadParameter
from modules.types import GenerationRequest

_REFUSED = re.compile(rb" E llg error: ([^\r\n]+)")
_MAX_READ = 64 * 1024


class GrammarRefusal:
    """Looks at what the engine logs from a request with a grammar or schema on; one look at a size per piece of text.

    The log names no request: of two that begin at the same moment both are refused, which is better than text nobody
    constrains.
    """

    def __init__(self, request: GenerationRequest, log: WorkerLog | None) -> None:
        constrained = bool(request.grammar) or request.json_schema is not None
        self._param = "grammar" if request.grammar else "response_format"
        self._log = log if constrained else None
        self._start = 0 if self._log is None else self._log.size()
        self._seen = 0

    def check(self) -> None:
        """Raises BadParameter (code "grammar_not_enforced") with the engine's reason."""
        if self._log is None or (grown := self._log.size() - self._start) <= self._seen:
            return
        self._seen = grown
        found = _REFUSED.search(self._log.read_from(self._start, _MAX_READ))
        if found is not None:
            reason = found[1].decode("utf-8", "replace")[:300]
            what = "grammar" if self._param == "grammar" else "JSON schema"
            raise BadParameter(f"The engine cannot enforce this {what}: {reason}", hint=f"Make the {what} simpler.",
                               param=self._param, code="grammar_not_enforced")  # fmt: skip

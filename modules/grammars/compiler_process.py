"""The child process that compiles one grammar or schema: `python -m modules.grammars.compiler_process`.

Reads {"kind": "grammar" | "schema", "text": …} from standard input, and writes {"reason": …}: "" when it can be
enforced, else why not; null where llguidance is not installed. It has a memory limit, and whoever started it ends it
when it takes too long, so that a hostile grammar costs nobody else anything.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from modules.grammars.gbnf import GrammarRefused, read_gbnf
from modules.grammars.lark import to_lark, uses_tokens

MEMORY = 1 << 30
"""Bytes of address space beyond what the process has when it starts."""
CPU_SECONDS = 20
_PLACE = re.compile(r'^(?:at \d+\(\d+\): )?(?:failed to compile JSON schema: |failed to parse "%json": )?')
_LONGEST_REASON = 300  # characters
_LIMIT = "max is"  # the compiler's own words, not ours
STEPS = 4


def why_not(kind: str, text: str) -> str | None:
    """Why it cannot be enforced, "" when it can; None without llguidance."""
    try:
        from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
    except ImportError:
        return None
    has_tokens = False
    if kind == "grammar":
        try:
            rules = read_gbnf(text)
        except GrammarRefused as error:
            return error.reason.rstrip(".")
        compiled, has_tokens = to_lark(rules), uses_tokens(rules)
    else:
        compiled = f"%llguidance {{}}\nstart: %json {text}"
    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes()), eos_token=[_Bytes.eos_token_id])
    # Validation names what is not supported; tokens written as <name> belong to a model and are not looked up here.
    said = str(LLMatcher.validate_grammar(compiled))
    if not said and not has_tokens:
        return _tried(LLMatcher(tokenizer, compiled, log_level=0))
    reason = " ".join(_PLACE.sub("", said.split("\n   1 | ")[0]).split())  # without the grammar quoted below
    return reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + "…"


def _tried(matcher: Any) -> str:
    """Why a text cannot be begun and gone on with, "" when it can: some limits show only after the first token."""
    for step in range(STEPS):
        if matcher.is_error() or matcher.is_stopped():
            break
        bits = matcher.compute_bitmask()
        if matcher.is_error():
            break
        allowed = next((number for number in range(256) if bits[number // 8] >> number % 8 & 1), None)
        if allowed is None:
            return "" if step else "no text fits it"
        matcher.consume_token(allowed)
    if not matcher.is_error():
        return ""
    said = " ".join(str(matcher.get_error()).partition("<state>")[0].split())
    return f"the compiler gives up on it ({said})" if _LIMIT in said else "no text fits it"


class _Bytes:
    """A tokenizer whose tokens are the 256 bytes: enough to know whether any text fits."""

    eos_token_id = 256
    bos_token_id = None
    special_token_ids = (256,)
    tokens = (*(bytes([number]) for number in range(256)), b"\xff<eos>")

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode("utf-8") if isinstance(text, str) else text)


def _limit() -> None:
    """Bound memory and processor time, where the system has such limits."""
    try:
        import resource
    except ImportError:  # Windows: only the time limit of whoever started this process
        return
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer the one question on standard input."""
    if sys.platform.startswith("linux"):
        _limit()
    asked: dict[str, Any] = json.load(sys.stdin)
    json.dump({"reason": why_not(asked["kind"], asked["text"])}, sys.stdout)


if __name__ == "__main__":
    main()

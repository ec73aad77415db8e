"""What callers hand in, made into journal records: plain JSON values and clean text, nothing else."""

from __future__ import annotations

import base64
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from modules.chats.tree import Record
from modules.messages.parts import FunctionCall
from modules.types import Stats

_SURROGATE = re.compile("[\ud800-\udfff]")
_CHAT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def new_id() -> str:
    """Sixty random bits as twelve small letters and digits: a safe file name on every system."""
    return base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]


def is_chat_id(name: object) -> bool:
    """Whether `name` can be a chat's id; everything else a client may send is none."""
    return isinstance(name, str) and _CHAT_ID.fullmatch(name) is not None


def clean(text: str) -> str:
    """`text` with half characters, which no file and no network can carry, replaced one for one."""
    return _SURROGATE.sub("\ufffd", text)


def plain(value: Any) -> Any:
    """`value` as JSON has it: dataclasses and mappings become objects, numbers without a value become null."""
    if isinstance(value, Stats):
        return plain(asdict(value) | {"tokens_per_second": value.tokens_per_second})
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else clean(str(value))


def message(parent: str | None, role: str, text: str, **more: Any) -> Record:
    """A new message below `parent`; `more` are further fields, left out where empty."""
    extra = {key: plain(value) for key, value in more.items() if value}
    return {"kind": "message", "id": new_id(), "parent": parent, "role": role, "text": clean(text), **extra}


def partial(of: str, saved: tuple[str, str], text: str, reasoning: str) -> Record | None:
    """What was added since `saved` (text, reasoning); None if nothing was."""
    at, more = _added(saved[0], text)
    reasoning_at, more_reasoning = _added(saved[1], reasoning)
    if not more and not more_reasoning:
        return None
    thought = {"reasoning_at": reasoning_at, "reasoning": more_reasoning}
    return {"kind": "partial", "message": of, "at": at, "text": more, **thought}


def final(
    of: str, text: str, reasoning: str, state: str, *, stats: Any, notices: Sequence[Any], ledger: Any, error: Any,
    finish_reason: str | None, tool_calls: Sequence[FunctionCall] = (),
) -> Record:  # fmt: skip
    """The end of a reply, with the whole of it."""
    facts = {"stats": stats, "notices": list(notices), "ledger": ledger, "error": error, "finish_reason": finish_reason,
             "tool_calls": list(tool_calls)}  # fmt: skip
    extra = {key: plain(value) for key, value in facts.items() if value}
    return {"kind": "final", "message": of, "text": clean(text), "reasoning": clean(reasoning), "state": state, **extra}


def _added(saved: str, now: str) -> tuple[int, str]:
    """Where the new text begins, and the new text. A reply only grows; one that shrank is written anew."""
    at = len(saved) if len(now) >= len(saved) else 0
    return at, clean(now[at:])

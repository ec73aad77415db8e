"""The context ledger: what of a request fits the model's context, what is left out, and why.

How room for the reply is reserved: `max_tokens` when the request names it, else 512; never more than a quarter
of the context. With the policy "drop_oldest" the oldest turns go until prompt + reserve fit. With "error" nothing
is dropped: the request goes on as long as one token is left, and a `max_tokens` that cannot be had is lowered
with a Notice. A prompt that does not fit even so is a ContextOverflow that names the counts.

Cheap path: a token stands for at least one byte, so a prompt whose UTF-8 bytes plus the reserve fit does not
have to be counted at all (Ledger.exact = False: the count is an upper bound). Otherwise it is tokenised once and
the engine gets the ids, so that it does not do it again. (A tokeniser that normalises compatibility characters can
break the bound; then the engine itself refuses, and nothing is cut silently.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modules.errors import BadRequest, ContextOverflow
from modules.types import EngineInfo, GenerationRequest, Ledger, Message, Notice

DEFAULT_RESERVE = 512
DROP_STEPS = (4, 2)  # turns
KEEP_AT_LEAST = 0.6  # of the room, or else a smaller step is taken
SPECIALS = 8  # begin-of-text and the like, which a tokeniser may add without there being bytes for it


class Renderer(Protocol):
    """The part of an Engine that is needed here; see modules/engine/base.py."""

    @property
    def info(self) -> EngineInfo: ...
    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> str: ...
    async def tokenize(self, text: str, special: bool = True) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits. `text` is the rendered prompt ("" for ids), `max_tokens` what the engine is asked for."""

    prompt: str | tuple[int, ...]
    text: str
    ledger: Ledger
    max_tokens: int
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class _Counted:
    """One rendering and its tokens; `ids` is None on the cheap path, where `tokens` is an upper bound."""

    text: str
    tokens: int
    ids: tuple[int, ...] | None = None


def reserve(max_tokens: int, limit: int) -> int:
    """Tokens to keep free for the reply; at least 1."""
    return max(1, min(max_tokens or DEFAULT_RESERVE, limit // 4))


async def fit(request: GenerationRequest, engine: Renderer) -> Fitted:
    """Render, count and, if the policy says so, shorten. Raises ContextOverflow; render errors pass through."""
    limit = engine.info.context
    asked = request.params.get("max_tokens")
    wish = asked if isinstance(asked, int) else 0
    keep = reserve(wish, limit)
    if request.messages is None:
        counted = await _count_prompt(request.prompt, engine, limit - max(keep, wish))
        return _settle(counted, limit, wish, keep, 0, 0, 0)
    messages = request.messages
    counted = await _count(messages, request, engine, limit - max(keep, wish))
    dropped = 0
    full = counted.tokens
    if request.overflow == "drop_oldest" and counted.tokens + keep > limit:
        messages, counted = await _shorten(request, engine, limit - keep, counted)
        dropped = len(request.messages) - len(messages)
    return _settle(counted, limit, wish, keep, len(messages), dropped, full - counted.tokens if dropped else 0)


async def _count(
    messages: tuple[Message, ...], request: GenerationRequest, engine: Renderer, cheap_below: int
) -> _Counted:
    text = await engine.render(messages, request.template_vars, request.continue_last)
    return await _count_text(text, engine, cheap_below)


async def _count_text(text: str, engine: Renderer, cheap_below: int) -> _Counted:
    bound = len(text.encode("utf-8", "surrogatepass")) + SPECIALS
    if bound <= cheap_below:
        return _Counted(text, bound)
    ids = tuple(await engine.tokenize(text))
    return _Counted(text, len(ids), ids)


async def _count_prompt(prompt: str | tuple[int, ...] | None, engine: Renderer, cheap_below: int) -> _Counted:
    if isinstance(prompt, tuple):
        return _Counted("", len(prompt), prompt)
    if prompt is None:
        raise BadRequest("A request needs messages or a prompt.")
    return await _count_text(prompt, engine, cheap_below)


def cuts(messages: Sequence[Message]) -> list[int]:
    """Where a conversation may begin after dropping: at a user message, oldest first; the whole one is left out."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    turns = [place for place, message in enumerate(messages) if message.role != "system"]
    return [place for place in users if place != turns[0]]


def kept_after(messages: tuple[Message, ...], cut: int) -> tuple[Message, ...]:
    """The system messages and everything from `cut` on."""
    return tuple(message for place, message in enumerate(messages) if place >= cut or message.role == "system")


async def _shorten(
    request: GenerationRequest, engine: Renderer, room: int, whole: _Counted
) -> tuple[tuple[Message, ...], _Counted]:
    """Drop the oldest turns until it fits; when nothing is enough, all but the newest turn.

    Where it costs little, turns are dropped in steps of four (or two): the next turns then begin with the same
    text, so that the engine finds it in its cache instead of reading the whole prompt again each time.
    """
    messages = request.messages or ()
    places = cuts(messages)
    if not places:
        return messages, whole

    async def after(index: int) -> tuple[tuple[Message, ...], _Counted]:
        kept = kept_after(messages, places[index])
        return kept, await _count(kept, request, engine, -1)

    low, high = 0, len(places) - 1
    best = None
    while low < high:  # fewer messages are never more tokens: bisect instead of trying each
        middle = (low + high) // 2
        found = await after(middle)
        if found[1].tokens <= room:
            best, high = found, middle
        else:
            low = middle + 1
    for index in dict.fromkeys(-(-(low + 1) // step) * step - 1 for step in DROP_STEPS):
        if low < index < len(places):
            found = await after(index)
            if found[1].tokens >= room * KEEP_AT_LEAST:
                return found
    return best if best is not None else await after(low)


def _settle(
    counted: _Counted, limit: int, wish: int, keep: int, kept: int, dropped: int, dropped_tokens: int
) -> Fitted:
    """The ledger of what was decided. Raises ContextOverflow when not even one token of reply is left."""
    left = limit - counted.tokens
    if left < 1:
        raise _overflow(counted.tokens, limit, kept, dropped)
    notices: list[Notice] = []
    why = ""
    if dropped:
        why = (
            f"The {_messages(dropped)} ({dropped_tokens:,} tokens) did not fit the context of {limit:,} tokens "
            "and were left out."
        )
        notices.append(Notice("context_dropped", why))
    max_tokens = wish
    if wish > left:
        max_tokens = left
        lowered = f"max_tokens was lowered from {wish:,} to {left:,}, the room left in the context of {limit:,} tokens."
        notices.append(Notice("max_tokens_lowered", lowered, param="max_tokens"))
        why = f"{why} {lowered}".strip()
    ledger = Ledger(
        limit=limit,
        prompt_tokens=counted.tokens,
        reserved=min(max(keep, wish), left),
        kept_messages=kept,
        dropped_messages=dropped,
        dropped_tokens=dropped_tokens,
        exact=counted.ids is not None,
        why=why,
    )
    prompt = counted.text if counted.ids is None else counted.ids
    return Fitted(prompt, counted.text, ledger, max_tokens, tuple(notices))


def _messages(count: int) -> str:
    return "oldest message" if count == 1 else f"{count} oldest messages"


def _overflow(tokens: int, limit: int, kept: int, dropped: int) -> ContextOverflow:
    after = " even with all older messages left out" if dropped else ""
    drop = ", let the oldest messages be dropped (context_overflow: drop_oldest)" if kept > 2 and not dropped else ""
    return ContextOverflow(
        f"The prompt has {tokens:,} tokens{after}, but the context holds {limit:,} and a reply needs at least one.",
        hint=f"Shorten it by at least {tokens - limit + 1:,} tokens{drop}, or load the model with a larger context.",
        param="messages" if kept else "prompt",
    )

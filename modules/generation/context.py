"""The context ledger: what of a request fits the model's context, what is left out, and why.

How room for the reply is reserved: `max_tokens` when the request names it, else 512; never more than a quarter
of the context. With the policy "drop_oldest" a turn that could never fit goes first, because one of its messages is
larger than the room by itself; then the oldest turns go until prompt + reserve fit. The newest turn stays. With
"error" nothing is dropped: the request goes on as long as one token is left, and a `max_tokens` that cannot be had is
lowered with a Notice. A prompt that does not fit even so is a ContextOverflow that names the counts.

How tokens are counted, and where the count is only a bound, is in modules/generation/token_count.py. Only tokens that
are surely there make a prompt too long or lower a `max_tokens`; what is a guess (an image of unknown size, an engine
that renders by itself) only makes older turns go earlier. An engine that does not tell its context has nothing left
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from modules.errors import ContextOverflow
from modules.generation.ledger_sources import by_source
from modules.generation.token_count import Counted, Counter, Renderer, count_prompt, counter_for
from modules.messages.tool_calls import written_text
from modules.types import GenerationRequest, Ledger, Message, Notice

DEFAULT_RESERVE = 512
SYSTEM_ROLES = ("system", "developer")  # instructions, never left out
DROP_STEPS = (4, 2)  # turns
KEEP_AT_LEAST = 0.6  # of the room, or else a smaller step is taken


@dataclass(frozen=True, slots=True)
class Fitted:
    """What fits: a prompt, or the messages for an engine that renders them itself (`prompt` None).

    text        the rendered prompt ("" for ids and messages)
    max_tokens  what the engine is asked for
    images      those that are left, in order
    image_places  the character of `text` before which each stands
    """

    prompt: str | tuple[int, ...] | None
    text: str
    ledger: Ledger
    max_tokens: int
    notices: tuple[Notice, ...] = ()
    images: tuple[str, ...] = ()
    messages: tuple[Message, ...] | None = None
    image_places: tuple[int, ...] = ()


def reserve(max_tokens: int, limit: int) -> int:
    """Tokens to keep free for the reply; at least 1."""
    return max(1, min(max_tokens or DEFAULT_RESERVE, limit // 4))


async def fit(request: GenerationRequest, engine: Renderer) -> Fitted:
    """Render, count and, if the policy says so, shorten. Raises ContextOverflow; render errors pass through."""
    limit = engine.info.context
    asked = request.params.get("max_tokens")
    wish = asked if isinstance(asked, int) else 0
    if limit <= 0:
        return await _unlimited(request, engine, wish)
    keep = reserve(wish, limit)
    if request.messages is None:
        counted = await count_prompt(request, engine, limit - max(keep, wish))
        return _settle(counted, limit, wish, keep, 0, shifts=engine.info.shifts_context)
    messages = request.messages
    counter = counter_for(request, engine)
    counted = await counter.count(messages, limit - max(keep, wish))
    full, oversized = counted.tokens, 0
    if request.overflow == "drop_oldest" and counted.tokens + keep > limit:
        fitting = await _without_oversized(messages, counter, limit - keep)
        oversized = len(messages) - len(fitting)
        if oversized:
            messages, counted = fitting, await counter.count(fitting, -1)
        if counted.tokens + keep > limit:
            messages, counted = await _shorten(messages, counter, limit - keep, counted)
    fitted = _settle(
        counted, limit, wish, keep, len(messages), len(request.messages) - len(messages) - oversized,
        max(0, full - counted.tokens), oversized, engine.info.shifts_context,
    )  # fmt: skip
    return _with_sources(fitted, request.messages, messages)


def _with_sources(fitted: Fitted, messages: tuple[Message, ...], kept: tuple[Message, ...]) -> Fitted:
    ledger = fitted.ledger
    sources = by_source(messages, kept, ledger.prompt_tokens, ledger.dropped_tokens)
    return replace(fitted, ledger=replace(ledger, sources=sources))


_UNLIMITED = 1 << 62


async def _unlimited(request: GenerationRequest, engine: Renderer, wish: int) -> Fitted:
    """For an engine that does not say how much fits."""
    if request.messages is None:
        counted = await count_prompt(request, engine, _UNLIMITED)
    else:
        counted = await counter_for(request, engine).count(request.messages, _UNLIMITED)
    why = f"{counted.why} The engine does not tell its context, so nothing was left out.".strip()
    kept = request.messages or ()
    ledger = Ledger(0, counted.tokens, wish, len(kept), 0, exact=counted.exact, why=why)
    fitted = Fitted(
        counted.prompt, counted.text, ledger, wish, (), counted.images, counted.messages,
        counted.image_places,
    )  # fmt: skip
    return _with_sources(fitted, kept, kept)


def cuts(messages: Sequence[Message]) -> list[int]:
    """Where a conversation may begin after dropping: at a user message, oldest first; the whole one is left out."""
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    turns = [place for place, message in enumerate(messages) if message.role not in SYSTEM_ROLES]
    return [place for place in users if place != turns[0]]


def kept_after(messages: tuple[Message, ...], cut: int) -> tuple[Message, ...]:
    """The system messages and everything from `cut` on."""
    return tuple(message for place, message in enumerate(messages) if place >= cut or message.role in SYSTEM_ROLES)


async def _without_oversized(messages: tuple[Message, ...], counter: Counter, room: int) -> tuple[Message, ...]:
    """Without turns that could never be sent: one of their messages is larger than the room beside the system prompt.

    Else a message that was refused once would be in the way of all later ones, or take all older ones with it. The
    newest turn stays whatever its size: it is what is asked. A turn is a user message and what follows it.
    """
    suspects = [message for message in messages if _size(message) > room]
    if not suspects:
        return messages
    system = [message for message in messages if message.role in SYSTEM_ROLES]
    left = room - sum([await counter.text_tokens(message) for message in system])
    starts = [place for place, message in enumerate(messages) if message.role == "user"] or [0]
    kept = []
    for begin, end in pairwise([*dict.fromkeys([0, *starts]), len(messages)]):
        turn = [message for message in messages[begin:end] if message.role not in SYSTEM_ROLES]
        too_large = end < len(messages) and any(
            [_size(message) > left and await counter.text_tokens(message) > left for message in turn]
        )
        kept += [message for message in messages[begin:end] if message.role in SYSTEM_ROLES or not too_large]
    return tuple(kept)


def _size(message: Message) -> int:
    """A bound of a message's tokens: its bytes."""
    return len(written_text(message).encode("utf-8", "surrogatepass"))


async def _shorten(
    messages: tuple[Message, ...], counter: Counter, room: int, whole: Counted
) -> tuple[tuple[Message, ...], Counted]:
    """Drop the oldest turns until it fits; when nothing is enough, all but the newest turn.

    Where it costs little, turns are dropped in steps of four (or two): the next turns then begin with the same
    text, so that the engine finds it in its cache instead of reading the whole prompt again each time.
    """
    places = cuts(messages)
    if not places:
        return messages, whole

    async def after(index: int) -> tuple[tuple[Message, ...], Counted]:
        kept = kept_after(messages, places[index])
        return kept, await counter.count(kept, -1)

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
    counted: Counted, limit: int, wish: int, keep: int, kept: int, oldest: int = 0, dropped_tokens: int = 0,
    oversized: int = 0,
   shifts: bool = False,
) -> Fitted:  # fmt: skip
    """The ledger of what was decided. Raises ContextOverflow when not even one token of reply is left."""
    left = limit - counted.least
    dropped = oldest + oversized
    if left < 1:
        raise _overflow(counted.least, limit, keep, kept, dropped)
    notices: list[Notice] = []
    why = counted.why
    if dropped:
        said = _left_out(oldest, oversized, dropped_tokens, limit)
        notices.append(Notice("context_dropped", f"{said} {why}".strip()))
        why = f"{said} {why}".strip()
    max_tokens = wish
    left = max(1, limit - counted.taken) if counted.taken else left
    if wish > left and not shifts:  # with a context that shifts the engine forgets its oldest part and goes on
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
        exact=counted.exact,
        why=why,
        oversized_messages=oversized,
    )
    return Fitted(
        counted.prompt, counted.text, ledger, max_tokens, tuple(notices), counted.images, counted.messages,
        counted.image_places,
    )  # fmt: skip


def _left_out(oldest: int, oversized: int, tokens: int, limit: int) -> str:
    """What was left out, for people."""
    large = "message longer than the context" if oversized == 1 else f"{oversized} messages of turns longer than it"
    old = "oldest message" if oldest == 1 else f"{oldest} oldest messages"
    which = " and the ".join(part for part, count in ((old, oldest), (large, oversized)) if count)
    verb = "was" if oldest + oversized == 1 else "were"
    return f"The {which} ({tokens:,} tokens) did not fit the context of {limit:,} tokens and {verb} left out."


def _overflow(tokens: int, limit: int, keep: int, kept: int, dropped: int) -> ContextOverflow:
    after = " even with all older messages left out" if dropped else ""
    drop = ", let the oldest messages be dropped (context_overflow: drop_oldest)" if kept > 2 and not dropped else ""
    error = ContextOverflow(
        f"The prompt has {tokens:,} tokens{after}, but the context holds {limit:,} and a reply needs at least one.",
        hint=f"Shorten it by at least {tokens - limit + 1:,} tokens{drop}, or load the model with a larger context.",
        param="messages" if kept else "prompt",
    )
    error.figures = {"prompt_tokens": tokens, "needed": tokens + max(keep, DEFAULT_RESERVE), "limit": limit}
    return error

"""How many tokens of a prompt came from where (system prompt, history, …): one row of the ledger for each source."""

from __future__ import annotations

from collections.abc import Sequence

from modules.messages.tool_calls import written_text
from modules.types import LedgerSource, Message

SYSTEM_PROMPT = "system_prompt"
HISTORY = "history"


def source_of(message: Message) -> str:
    """The source a message names; for one that names none (the OpenAI API), what its role stands for."""
    return message.source or (SYSTEM_PROMPT if message.role in ("system", "developer") else HISTORY)


def by_source(
    messages: Sequence[Message], kept: Sequence[Message], tokens: int, dropped_tokens: int
) -> tuple[LedgerSource, ...]:
    """One row for each source, in the order of their first messages; the tokens of all rows are `tokens` exactly.

    A prompt is counted as a whole, with what the chat template puts around the messages; its tokens are shared out by
    the messages' lengths in UTF-8 bytes. `kept` are the messages that are sent, the very objects of `messages`.
    """
    sent = {id(message) for message in kept}
    names = list(dict.fromkeys(source_of(message) for message in messages))
    groups = {name: [message for message in messages if source_of(message) == name] for name in names}
    staying = [[message for message in groups[name] if id(message) in sent] for name in names]
    left_out = [[message for message in groups[name] if id(message) not in sent] for name in names]
    shares = _share(tokens, [_bytes(part) for part in staying])
    dropped = _share(dropped_tokens, [_bytes(part) for part in left_out])
    return tuple(
        LedgerSource(name, shares[row], len(staying[row]), dropped[row], len(left_out[row]))
        for row, name in enumerate(names)
    )


def _bytes(messages: Sequence[Message]) -> int:
    return sum(len(written_text(message).encode("utf-8", "surrogatepass")) for message in messages)


def _share(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts by weight; the sum of the parts is `total` where any weight is not 0."""
    whole, shares, gone, given = sum(weights), list[int](), 0, 0
    for weight in weights:
        gone += weight
        upto = total * gone // whole if whole else 0
        shares.append(upto - given)
        given = upto
    return shares

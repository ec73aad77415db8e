"""Where the messages of a prompt come from: the system prompt, the history; each source names its messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from modules.chats.values import Chat, MessageNode
from modules.generation.ledger_sources import HISTORY, SYSTEM_PROMPT
from modules.types import Message


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply is asked for.

    path        the conversation from its first message to its newest
    continues   the last of `path` is the reply that is to be continued
    """

    chat: Chat
    path: Sequence[MessageNode]
    continues: bool = False


class PromptSource(Protocol):
    """One source. `name` stands in the ledger beside the tokens it takes ("system_prompt", "lore", …)."""

    @property
    def name(self) -> str: ...
    def messages(self, asked: Asked) -> list[Message]:
        """What it adds to the prompt, [] for nothing. Messages with the role system are never dropped."""


class SystemPrompt:
    """The chat's own system prompt."""

    name = SYSTEM_PROMPT

    def messages(self, asked: Asked) -> list[Message]:
        """See PromptSource."""
        return [Message("system", asked.chat.system)] if asked.chat.system.strip() else []


class History:
    """The messages of the conversation; the oldest go when the context is full.

    An empty reply is left out, unless it is to be continued: it failed or was stopped before its first word.
    """

    name = HISTORY

    def messages(self, asked: Asked) -> list[Message]:
        """See PromptSource."""
        last = asked.path[-1] if asked.continues else None
        return [
            Message(
                node.role,
                node.content,
                name=node.name,
                tool_calls=node.tool_calls,
                tool_call_id=node.tool_call_id,
                reasoning=node.reasoning,
            )
            for node in asked.path
            if node.content or node.tool_calls or node.role in ("user", "tool") or node is last
        ]


SOURCES: tuple[PromptSource, ...] = (SystemPrompt(), History())
"""In the order in which the model reads them."""

"""One message of a conversation, and a conversation rendered as a prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from modules.messages.parts import FunctionCall, ImagePart, Part, TextPart, as_parts

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """One message of a conversation as the engine sees it. `Message("user", "hi")` makes one text part.

    content       parts in their order; engines see images where they stand between texts
    name          who speaks, where several people (or tools) share a role; "" = not said
    tool_calls    role "assistant": the calls it made
    tool_call_id  role "tool": the call this is the result of; its `name` is the tool's
    reasoning     role "assistant": the thinking before the answer, for templates that keep it
    source        where it came from ("system_prompt", "history", …), for the ledger; messages are equal without it
    """

    role: Role
    content: tuple[Part, ...]
    name: str
    tool_calls: tuple[FunctionCall, ...]
    tool_call_id: str
    reasoning: str
    source: str = field(compare=False)

    def __init__(
        self, role: Role, content: str | Iterable[Part] = "", *, name: str = "",
        tool_calls: Iterable[FunctionCall] = (), tool_call_id: str = "", reasoning: str = "", source: str = "",
    ) -> None:  # fmt: skip
        given = {"role": role, "content": as_parts(content), "name": name, "tool_calls": tuple(tool_calls)}
        for key, value in (given | {"tool_call_id": tool_call_id, "reasoning": reasoning, "source": source}).items():
            object.__setattr__(self, key, value)

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[str, ...]:
        """The image files in base64, in their order."""
        return tuple(part.data for part in self.content if isinstance(part, ImagePart))


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A chat as text. `image_places` are the characters before which its images stand, ascending, one per image."""

    text: str
    image_places: tuple[int, ...] = ()

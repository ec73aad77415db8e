"""Where a reply is saved while it is generated: a message of a chat, a notebook, a row of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from modules.messages.parts import FunctionCall
from modules.types import Ledger, Notice, Stats

EndState = Literal["done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Begun:
    """What a reply starts from.

    id          unique among all replies of the server
    text        what stands there already (a reply that is continued), and the `reasoning` before it
    rev         revision of what is written to, 0 where there is none
    """

    id: str
    text: str = ""
    reasoning: str = ""
    rev: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reply at its end, with the whole of it. `error` has the keys of errors.as_dict."""

    text: str
    reasoning: str
    state: EndState
    stats: Stats
    notices: tuple[Notice, ...] = ()
    ledger: Ledger | None = None
    error: Mapping[str, Any] | None = None
    finish_reason: str | None = None
    tool_calls: tuple[FunctionCall, ...] = ()


class ReplySink(Protocol):
    """Saves one reply. All but `changed` may block: they run in a thread, one at a time.

    group   what the reply belongs to (a chat's id); all replies of a group can be stopped together
    """

    @property
    def group(self) -> str: ...
    def begin(self) -> Begun:
        """Make room for the reply. What it raises goes to the caller: no reply is started."""

    def partial(self, text: str, reasoning: str) -> None:
        """Save what there is so far; about once a second. An EnginehouseError does not end the reply."""

    def finish(self, outcome: Outcome) -> int:
        """Save the end; the new revision. Called again later where it raised a StorageError or a Conflict."""

    def changed(self, state: str, rev: int) -> None:
        """In the event loop: the reply is now "running", or it has ended as its outcome says."""

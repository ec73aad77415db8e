"""What the model is asked in a chat."""

from __future__ import annotations

from modules.conversation.prompt import merged
from modules.types import Message


def test_only_neighbours_of_one_role_are_merged() -> None:
    turns = [Message("user", "a"), Message("assistant", "b"), Message("user", ""), Message("user", "c")]
    assert merged(turns) == [*turns[:2], Message("user", "c")]

"""Messages as templates take them."""

from __future__ import annotations

from modules.generation.roles import fit_roles
from modules.messages.parts import ImagePart, TextPart
from modules.types import Message, TemplateTraits
from tests.pictures import looking

SYSTEM, USER, REPLY = Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello")


def fitted(*messages: Message, system: bool = True, same: bool = True) -> tuple[list[tuple[str, str]], list[str]]:
    found, notices = fit_roles(messages, TemplateTraits(system, same))
    return [(message.role, message.text) for message in found], [notice.code for notice in notices]


def test_nothing_changes_for_a_template_that_takes_everything() -> None:
    assert fit_roles((SYSTEM, USER, USER), TemplateTraits()) == ((SYSTEM, USER, USER), ())


def test_a_system_prompt_goes_before_the_users_message() -> None:
    begun = [("user", "Be brief.\n\nHi"), ("assistant", "Hello")]
    assert fitted(SYSTEM, USER, REPLY, system=False) == (begun, ["system_merged"])
    assert fitted(USER, REPLY, SYSTEM, system=False) == (
        [("user", "Hi"), ("assistant", "Hello"), ("user", "Be brief.")], ["system_merged"],
    )  # fmt: skip


def test_neighbors_of_one_role_become_one_message() -> None:
    assert fitted(USER, USER, REPLY, same=False) == (
        [("user", "Hi\n\nHi"), ("assistant", "Hello")], ["messages_merged"],
    )  # fmt: skip
    joined, _ = fit_roles((looking("a", "x"), looking("", "y")), TemplateTraits(True, False))
    assert joined == (Message("user", (ImagePart("x"), TextPart("a\n\n"), ImagePart("y"))),)


def test_a_template_may_want_both() -> None:
    assert fitted(SYSTEM, USER, USER, system=False, same=False) == (
        [("user", "Be brief.\n\nHi\n\nHi")], ["system_merged", "messages_merged"],
    )  # fmt: skip

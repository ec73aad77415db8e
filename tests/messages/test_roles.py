"""Messages as templates take them."""

from __future__ import annotations

from modules.messages.roles import fit_roles
from modules.types import MEDIA_MARK, Message, TemplateTraits

SYSTEM, USER, REPLY = Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello")


def fitted(*messages: Message, system: bool = True, same: bool = True) -> tuple[list[tuple[str, str]], list[str]]:
    found, notices = fit_roles(messages, TemplateTraits(system, same))
    return [(message.role, message.content) for message in found], [notice.code for notice in notices]


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
    joined, _ = fit_roles((Message("user", "a", ("x",)), Message("user", "", ("y",))), TemplateTraits(True, False))
    assert joined == (Message("user", f"{MEDIA_MARK}a\n\n{MEDIA_MARK}", ("x", "y")),)


def test_a_template_may_want_both() -> None:
    assert fitted(SYSTEM, USER, USER, system=False, same=False) == (
        [("user", "Be brief.\n\nHi\n\nHi")], ["system_merged", "messages_merged"],
    )  # fmt: skip

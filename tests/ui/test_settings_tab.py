"""What the Settings tab says of the port and the key."""

from __future__ import annotations

import pytest

from modules.ui.settings_tab import port_words


@pytest.mark.parametrize(
    ("stored", "url", "shown"),
    [(7860, "http://127.0.0.1:7901", "7901"), (7860, "http://[::1]:7860", ""), (7860, "", "")],
)
def test_the_port_in_use_is_named_when_it_is_not_the_one_set(stored: int, url: str, shown: str) -> None:
    said = port_words(stored, url)
    assert shown in said
    assert bool(said) == bool(shown)

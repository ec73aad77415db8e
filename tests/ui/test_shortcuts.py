"""The table of shortcuts: consistent with itself, with the browser's code, and with the browser's own keys."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from modules.ui.shortcuts import SHORTCUTS, as_config
from modules.web.assets import WEB_FOLDER

TAKEN = {  # by browsers, on every system; a page that takes them locks people in
    "Mod+R", "Mod+Shift+R", "Mod+L", "Mod+T", "Mod+Shift+T", "Mod+N", "Mod+Shift+N", "Mod+W", "Mod+Shift+W", "Mod+P",
    "Mod+F", "Mod+Q", "Mod+Tab", "Mod+S", "Mod+D", "Mod+U", "Mod+A", "Mod+C", "Mod+V", "Mod+X", "Mod+Z", "F5", "F11",
    "F12", "Tab", "Mod++", "Mod+-", "Mod+0",
}  # fmt: skip
DANGERS = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    "http://",
    "https://",
)
CHORD = re.compile(r"^(Mod\+)?(Alt\+)?(Shift\+)?([A-Z]|F\d+|[?./;,]|Enter|Escape|Backspace|Arrow(Up|Down|Left|Right))$")


def test_no_chord_means_two_things_in_the_same_place() -> None:
    uses = Counter((chord, row.when) for row in SHORTCUTS for chord in row.keys)
    assert [use for use, count in uses.items() if count > 1] == []


def test_every_chord_can_be_matched_and_none_belongs_to_the_browser() -> None:
    for row in SHORTCUTS:
        for chord in row.keys:
            assert CHORD.match(chord), chord
            assert chord not in TAKEN, chord


def test_a_plain_character_is_never_a_shortcut_of_the_composer() -> None:
    for row in SHORTCUTS:
        if row.when in ("composer", "empty composer"):
            assert all(len(chord) > 1 for chord in row.keys), row


def test_every_action_is_carried_out_in_the_browser_and_nothing_else_is() -> None:
    code = (WEB_FOLDER / "chat" / "key_bindings.js").read_text("utf-8")
    bound = set(re.findall(r'shortcuts\.on\("(\w+)"', code))
    assert bound == {row.action for row in SHORTCUTS if row.action}


def test_every_action_named_for_a_tooltip_is_in_the_table() -> None:
    actions = {row.action for row in SHORTCUTS}
    for path in WEB_FOLDER.rglob("*.js"):
        if "vendor" not in path.parts:
            named = set(re.findall(r'\bkeys\("(\w+)"\)', path.read_text("utf-8")))
            assert named <= actions, path.name


def test_the_browser_gets_plain_constants() -> None:
    assert json.loads(json.dumps(as_config())) == as_config()
    assert {key for row in as_config() for key in row} == {"action", "keys", "label", "group", "when"}


def test_the_chat_component_is_a_constant_that_nothing_is_filled_into() -> None:
    from modules.ui.chat_tab import TEMPLATE, chat_tab

    made = chat_tab()
    assert made.html_template == TEMPLATE
    assert "$" not in TEMPLATE
    assert "{" not in TEMPLATE
    assert made.css_template == ""
    assert not made.props
    assert "import(" in str(made.js_on_load)


@pytest.mark.parametrize("path", sorted(WEB_FOLDER.rglob("*.js")), ids=lambda path: path.name)
def test_our_own_modules_are_small_and_never_write_markup(path: Path) -> None:
    if "vendor" in path.parts:
        return
    code = path.read_text("utf-8")
    assert code.count("\n") <= 350
    for danger in DANGERS:
        allowed = path.name == "icons.js" and danger == "http://"  # the name of the SVG namespace; nothing is fetched
        assert allowed or danger not in code, danger


def test_vendored_files_are_described_with_version_and_hash() -> None:
    vendor = WEB_FOLDER / "vendor"
    told = (vendor / "README.md").read_text("utf-8")
    for path in vendor.rglob("*"):
        if path.suffix == ".js":
            assert path.relative_to(vendor).as_posix() in told
    assert len(re.findall(r"\b[0-9a-f]{64}\b", told)) == 4


def test_no_style_sheet_of_the_chat_uses_has_because_it_slows_every_frame_of_a_long_chat() -> None:
    for path in (WEB_FOLDER / "css").glob("*.css"):
        rules = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.S)
        assert ":has(" not in rules, path.name

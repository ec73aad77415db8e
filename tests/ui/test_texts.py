"""The catalogue of the page's texts: every key used is there, none is left over, no sentence stands elsewhere."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.sampling.params import PARAMS
from modules.settings.store import SETTINGS
from modules.ui.text import FOLDER, catalogue, t

UI = FOLDER.parent
SCRIPTS = [path for path in sorted((UI / "web").rglob("*.js")) if "vendor" not in path.parts]
MODULES = sorted(UI.glob("*.py"))
_KEY = re.compile(r"""\b(?:t|label)\(f?[`"']([\w.]+)[`"']""")
_PREFIX = re.compile(r"""[`"']([\w.]+\.)(?:\$\{|\{)""")
"""A key made of a constant and a name, such as t(`state.${state}`): it uses every key that begins so."""
_PLURAL = re.compile(r"_(zero|one|two|few|many|other)$")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`')
_NO_TEXT = frozenset({
    "Enginehouse", "Enter", "Escape", "Delete", "Tab", "Home", "End", "PageUp", "PageDown", "Content-Type",
    "AbortError", "Files", "Esc", "Ctrl", "Shift", "Alt", "Mod", "Key", "Period", "Comma", "Slash", "Semicolon",
    "empty composer", "False", "too large", "fill in the middle", "noopener noreferrer nofollow",
})  # fmt: skip
"""Names of keys, errors and the server's words that code compares with."""


def sources() -> str:
    return "\n".join(path.read_text("utf-8") for path in [*SCRIPTS, *MODULES])


def test_every_key_that_is_used_has_a_text() -> None:
    known = set(catalogue()) | {_PLURAL.sub("", key) for key in catalogue()}
    used = set(_KEY.findall(sources()))
    assert len(used) > 200
    assert sorted(used - known) == []


def test_no_text_is_left_over() -> None:
    text = sources()
    used, prefixes = set(_KEY.findall(text)), tuple(set(_PREFIX.findall(text)))
    left = [
        key for key in catalogue() if _PLURAL.sub("", key) not in used | {key} & used and not key.startswith(prefixes)
    ]
    assert left == []


def test_every_setting_has_a_label_and_no_text_names_a_row_that_is_gone() -> None:
    names = {"setting": {one.name for one in SETTINGS}, "param": {one.name for one in PARAMS}}
    assert all(f"setting.{name}.label" in catalogue() for name in names["setting"])
    for key in catalogue():
        table, _, rest = key.partition(".")
        if table in names and rest.count("."):
            assert rest.split(".")[0] in names[table] | {"group"}, key


def test_a_text_is_filled_in_and_numbers_get_separators_and_plurals() -> None:
    assert t("unit.tokens", count=1) == "1 token"
    assert t("unit.tokens", count=8192) == "8,192 tokens"
    assert t("preset.saved", name="a {{name}} ${x}") == "Saved preset “a {{name}} ${x}”"
    with pytest.raises(KeyError):
        t("no.such.key")
    with pytest.raises(KeyError):
        t("preset.saved")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_sentence_stands_in_a_script(path: Path) -> None:
    assert list(script_sentences(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_sentence_stands_in_a_module(path: Path) -> None:
    assert list(module_sentences(path.read_text("utf-8"))) == []


def test_a_sentence_beside_the_catalogue_is_found() -> None:
    assert list(script_sentences('h("p", { text: "Not in the catalogue" })')) == ["Not in the catalogue"]
    assert list(module_sentences('x = gr.Button("Press here")')) == ["Press here"]


def script_sentences(text: str) -> Iterator[str]:
    """Strings that read like words for people. Comments, imports and lines for the console do not count."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    for line in text.split("\n"):
        if re.match(r"\s*(import|//)", line) or "console." in line or "throw new" in line or '.split(" ")' in line:
            continue
        for plain, template in _STRING.findall(re.sub(r"\s//.*$", "", line)):
            words = plain or re.sub(r"\$\{[^}]*\}", "", template)
            code = re.search(r"^p br|eh-|eht-|^[.#]|Arrow|\[|<|^--", words)
            if re.search(r"^[A-Z][a-z]|[a-z] [a-z]", words) and not code and words not in _NO_TEXT:
                yield words


def module_sentences(text: str) -> Iterator[str]:
    """The same for a Python module: docstrings, scripts for the browser and a programmer's errors do not count."""
    tree = ast.parse(text)
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            skipped.update(ast.walk(node.value) if isinstance(node.value, ast.Constant) else ())
        if (
            isinstance(node, ast.Raise)
            and isinstance(getattr(node.exc, "func", None), ast.Name)
            and hasattr(builtins, node.exc.func.id)
        ):
            skipped.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            words = node.value
            code = re.search(r"=>|[<>{}=;/]|eh-|eht-|^--", words)
            if re.search(r"^[A-Z][a-z]+( |$)|[a-z] [a-z]", words) and not code and words not in _NO_TEXT:
                yield words
